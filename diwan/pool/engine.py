"""Client of one vLLM engine: one request, one answer, bounded in time and size, no retries of its own.

Speaks OpenAI's chat completions as vLLM has them. Who retries, and where, is Temporal's business and the pool's.
"""

from __future__ import annotations

import asyncio
import secrets
from ssl import SSLContext
from types import TracebackType
from typing import Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from agents import strict_json
from agents.parse import BODY_LIMIT
from agents.usage import Usage, usage_of
from diwan.domain.errors import DiwanError, Unavailable
from diwan.pool.errors import EngineBusy, EngineJunk, EngineRejected, EngineUntrusted
from diwan.pool.load import EngineLoad, load_of
from diwan.pool.perimeter import INSIDE, Way
from diwan.pool.wire import HttpWire, Wire, WireFailed, WireUntrusted

_MAX_SMALL_BYTES = 256 * 1024
_MAX_METRICS_BYTES = 4 * 1024 * 1024
_SMALL_SECONDS = 5.0


class EngineAnswer(BaseModel):
    """`request` and `body` are the exact bytes sent and received: personal data, stored sealed, never logged.

    `model` and `fingerprint` are what the engine says of itself in the body; empty where it does not.
    """

    model_config = ConfigDict(frozen=True)

    status: int
    request: bytes = Field(repr=False)
    body: bytes = Field(repr=False)
    usage: Usage
    model: str
    fingerprint: str


class EngineInfo(BaseModel):
    """What an engine serves: its version, and per model name the context length in tokens (0: it does not say)."""

    model_config = ConfigDict(frozen=True)

    version: str
    models: dict[str, int]


def wire_request(request: dict[str, JsonValue], *, cache_salt: str, request_id: str) -> bytes:
    """The exact bytes to send, so that they can be stored first.

    `cache_salt` is a tenant's own, or another tenant could probe what is in the prefix cache by timing. Token ids
    are asked for because an audit can hash them; `request_id` is the call's key and appears in the engine's log.
    """
    return orjson.dumps({**request, "cache_salt": cache_salt, "request_id": request_id, "return_token_ids": True})


class EngineClient:
    """`base_url` has no path, and is inside the perimeter unless `way` leads out; `room` bounds the calls in flight.
    `trusted` judges its certificate, where it has one.

    Use as an async context manager, or `aclose` it. `wire` stands in for the network in tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        seconds: float = 300.0,
        room: int = 8,
        api_key: str = "",
        max_bytes: int = BODY_LIMIT,
        way: Way = INSIDE,
        trusted: SSLContext | None = None,
        wire: Wire | None = None,
    ) -> None:
        self._headers = {"accept-encoding": "identity"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self.outside = way.outside
        self._wire = wire or HttpWire(base_url, connections=room + 2, way=way, trusted=trusted)
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._room = asyncio.Semaphore(room)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def chat(self, request: bytes, *, traceparent: str = "") -> EngineAnswer:
        """Send the bytes of `wire_request`, give back the bytes of the answer.

        Raises `EngineBusy` (503, 429), `Unavailable` (no connection, a broken one, 5xx, no answer in time),
        `EngineRejected` (other 4xx, redirects), `EngineUntrusted` (no TLS, or another's certificate), `EngineJunk`
        (not JSON; endless: past the size limit, or still dribbling at the time limit).
        """
        headers = {"content-type": "application/json"}
        if traceparent:
            headers["traceparent"] = traceparent
        async with self._room:
            return await self._chat(request, headers)

    async def probe(self, model: str, *, seconds: float) -> None:
        """Have one token made, however many calls run; nothing of a case is in it.

        Raises as `chat` does, and where what comes is no answer of `model`.
        """
        asked = {
            "model": model,
            "messages": [{"role": "user", "content": "1"}],
            "max_tokens": 1,
            "temperature": 0,
            "request_id": f"probe-{secrets.token_hex(8)}",
        }
        answer = await self._chat(orjson.dumps(asked), {"content-type": "application/json"}, seconds=seconds)
        if not _object(answer.body).get("choices"):
            raise EngineJunk("engine.not_json", "The engine's answer is none.", body=b"")
        if answer.model not in ("", model):
            raise EngineRejected("engine.wrong_model", "The engine serves another model.", "Check the registry.")

    async def _chat(self, request: bytes, headers: dict[str, str], *, seconds: float | None = None) -> EngineAnswer:
        status, body = await self._exchange("POST", "/v1/chat/completions", request, headers, seconds=seconds)
        if status != 200:
            raise _failure(status, body)
        said = _object(body)
        return EngineAnswer(
            status=status,
            request=request,
            body=body,
            usage=usage_of(said),
            model=_text(said, "model"),
            fingerprint=_text(said, "system_fingerprint"),
        )

    async def check(self) -> None:
        """Returns where /health answers 200 within five seconds. Raises as `chat` does."""
        await self._ok("/health")

    async def healthy(self) -> bool:
        """Whether `check` returns. Never raises."""
        try:
            await self.check()
        except DiwanError:
            return False
        return True

    async def info(self) -> EngineInfo:
        """Version and models. Raises as `chat` does."""
        version = _object(await self._ok("/version"))
        listed = _object(await self._ok("/v1/models")).get("data")
        models: dict[str, int] = {}
        for item in listed if isinstance(listed, list) else []:
            if isinstance(item, dict) and isinstance(name := item.get("id"), str):
                length = item.get("max_model_len")
                models[name] = length if isinstance(length, int) else 0
        return EngineInfo(version=_text(version, "version"), models=models)

    async def load(self) -> EngineLoad | None:
        """What /metrics says of its load; None where it cannot be had. Never raises."""
        try:
            return load_of(await self._ok("/metrics", limit=_MAX_METRICS_BYTES))
        except DiwanError:
            return None

    async def _ok(self, path: str, *, limit: int = _MAX_SMALL_BYTES) -> bytes:
        status, body = await self._small(path, limit=limit)
        if status != 200:
            raise _failure(status, body)
        return body

    async def _small(self, path: str, *, limit: int = _MAX_SMALL_BYTES) -> tuple[int, bytes]:
        return await self._exchange("GET", path, b"", {}, seconds=_SMALL_SECONDS, limit=limit)

    async def _exchange(
        self,
        method: str,
        path: str,
        content: bytes,
        headers: dict[str, str],
        *,
        seconds: float | None = None,
        limit: int | None = None,
    ) -> tuple[int, bytes]:
        limit = limit or self._max_bytes
        received = bytearray()
        try:
            async with (
                asyncio.timeout(seconds or self._seconds),
                self._wire.exchange(method, path, content, {**self._headers, **headers}) as answered,
            ):
                # An answer that is compressed unasked stays what it is, and cannot unfold in memory.
                async for chunk in answered.chunks:
                    received += chunk
                    if len(received) > limit:
                        raise EngineJunk(
                            "engine.too_long",
                            "The engine's answer is too long.",
                            body=bytes(received[:limit]),
                            endless=True,
                        )
                return answered.status, bytes(received)
        except TimeoutError:
            if received:
                message = "The engine's answer did not end in time."
                raise EngineJunk("engine.too_slow", message, body=bytes(received), endless=True) from None
            raise Unavailable("engine.timed_out", "The engine did not answer in time.", "Look at its load.") from None
        except WireUntrusted as untrusted:
            raise EngineUntrusted(f"engine.{untrusted.why}", *_UNTRUSTED[untrusted.why]) from None
        except WireFailed:
            raise Unavailable("engine.unreachable", "The engine cannot be reached.", "Check that it runs.") from None


_UNTRUSTED = {
    "certificate_expired": ("The engine's certificate has run out, or is not valid yet.", "Renew it; check clocks."),
    "certificate_other_name": ("The engine's certificate is for another name.", "Check DIWAN_ENGINE_URL."),
    "certificate_unknown_authority": ("Nobody that we trust issued the engine's certificate.", "Set DIWAN_ENGINE_CA."),
    "certificate_refused": ("The engine's certificate is not accepted.", "Look at it."),
    "no_tls": ("What is at the engine's https address does not speak TLS as we do.", "Check DIWAN_ENGINE_URL."),
}


def _failure(status: int, body: bytes) -> EngineBusy | EngineRejected | Unavailable:
    """By status; of the body only a known phrase is looked at, for it may repeat the prompt."""
    if status in (429, 503):
        return EngineBusy("engine.busy", "The engine has no room now.", "Try again later.")
    if status >= 500:
        return Unavailable("engine.failed", f"The engine failed ({status}).", "Look at its log.")
    if status == 400 and (b"context length" in body or b"max_model_len" in body):
        return EngineRejected(
            "engine.context_exceeded", "The dossier is longer than the model's context.", "A person examines it."
        )
    if status == 404:
        return EngineRejected("engine.unknown_model", "The engine does not serve this model.", "Check the registry.")
    if status in (401, 403):
        return EngineRejected("engine.credential_refused", "The engine refused our credential.", "Check its API key.")
    return EngineRejected("engine.request_rejected", f"The engine refused the request ({status}).", "Look at its log.")


_NO_JSON = ("not_json", "not_utf8")


def _object(body: bytes) -> dict[str, JsonValue]:
    try:
        value = strict_json.loads(body, limit=BODY_LIMIT)
    except strict_json.NotStrict as odd:
        if odd.why not in _NO_JSON:
            # A model can bring this about by what it says, on every host alike.
            raise EngineJunk("engine.odd_json", "The engine's answer is no JSON to go by.", body=body) from None
        value = None
    if not isinstance(value, dict):
        raise EngineJunk("engine.not_json", "The engine's answer is not a JSON object.", body=body)
    return value


def _text(said: dict[str, JsonValue], key: str) -> str:
    value = said.get(key)
    return value[:200] if isinstance(value, str) else ""
