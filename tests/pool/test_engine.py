"""The client of an engine: exact bytes, bounded, no retries, and an error for each way to fail."""

from __future__ import annotations

import asyncio
import gzip
import json

import httpx
import pytest

from diwan.domain.errors import Disposition, DiwanError, Unavailable
from diwan.embedded.demo_engine.app import FINGERPRINT, MODEL, create_app
from diwan.embedded.demo_engine.failures import Failure, Mode
from diwan.pool.engine import EngineClient, wire_request
from diwan.pool.errors import EngineBusy, EngineJunk, EngineRejected
from tests.pool.serving import answering, serving
from tests.support.wires import TransportWire

SECRET = "Salma BENNANI"
REQUEST = wire_request(
    {"model": MODEL, "messages": [{"role": "user", "content": SECRET}]}, cache_salt="salt", request_id="r1"
)
OK = json.dumps({"choices": [], "model": "m", "usage": {"prompt_tokens": 3}}).encode()


def head(status: str = "200 OK", *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "connection: close", *headers, "", ""]).encode()


def answered(status: int, body: bytes = b"", **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))


def client(answer: httpx.Response) -> EngineClient:
    """A client whose engine always answers this."""
    return EngineClient("http://engine", wire=TransportWire(httpx.MockTransport(lambda _: answer)))


async def test_request_and_answer_are_kept_to_the_byte_and_usage_is_read() -> None:
    async with serving(create_app()) as url, EngineClient(url) as engine:
        answer = await engine.chat(REQUEST)
        again = await engine.chat(REQUEST)
    assert answer.request == REQUEST
    assert json.loads(answer.body)["id"] == "chatcmpl-r1"
    assert (answer.status, answer.model, answer.fingerprint) == (200, MODEL, FINGERPRINT)
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.cached_tokens == 0
    assert again.usage.cached_tokens >= 0
    assert SECRET not in repr(answer)


async def test_what_is_sent_is_what_an_audit_needs_and_nothing_asks_for_more() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answered(200, OK)

    async with EngineClient("http://engine", wire=TransportWire(httpx.MockTransport(answer)), api_key="k") as engine:
        await engine.chat(REQUEST, traceparent="00-abc-def-01")
    (request,) = seen
    assert request.content == REQUEST
    sent = json.loads(REQUEST)
    assert (sent["cache_salt"], sent["request_id"], sent["return_token_ids"]) == ("salt", "r1", True)
    assert request.headers["traceparent"] == "00-abc-def-01"
    assert request.headers["authorization"] == "Bearer k"
    assert request.headers["accept-encoding"] == "identity"


def test_the_bytes_to_send_are_always_the_same() -> None:
    made = [
        wire_request({"model": "m", "messages": [{"role": "user", "content": "ملف"}]}, cache_salt="s", request_id="r")
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert "ملف".encode() in made[0]


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (503, b"", EngineBusy, "engine.busy"),
        (429, b"", EngineBusy, "engine.busy"),
        (500, b"", Unavailable, "engine.failed"),
        (502, b"<html>", Unavailable, "engine.failed"),
        (400, b'{"error": {"message": "bad"}}', EngineRejected, "engine.request_rejected"),
        (400, b"maximum context length is 8", EngineRejected, "engine.context_exceeded"),
        (404, b"", EngineRejected, "engine.unknown_model"),
        (401, b"", EngineRejected, "engine.credential_refused"),
        (307, b"", EngineRejected, "engine.request_rejected"),
        (200, b"<html>", EngineJunk, "engine.not_json"),
        (200, b"[]", EngineJunk, "engine.not_json"),
        (200, b'{"a": NaN}', EngineJunk, "engine.odd_json"),
        (200, b"\xff", EngineJunk, "engine.not_json"),
        (200, b"", EngineJunk, "engine.not_json"),
    ],
)
async def test_each_status_says_what_happens_next(status: int, body: bytes, kind: type[DiwanError], code: str) -> None:
    async with client(answered(status, body, location="http://elsewhere")) as engine:
        with pytest.raises(kind) as raised:
            await engine.chat(REQUEST)
    assert raised.value.code == code
    assert raised.value.disposition is (Disposition.RETRY if kind in (EngineBusy, Unavailable) else Disposition.FINAL)


async def test_what_the_engine_repeats_of_the_prompt_is_in_no_message() -> None:
    echo = json.dumps({"error": {"message": f"Invalid: {SECRET}"}}).encode()
    for answer in (answered(400, echo), answered(200, f"junk {SECRET}".encode())):
        async with client(answer) as engine:
            with pytest.raises(DiwanError) as raised:
                await engine.chat(REQUEST)
        assert SECRET not in str(raised.value)
        assert raised.value.__cause__ is None


async def test_junk_keeps_what_came_for_the_record() -> None:
    async with client(answered(200, b"<html>")) as engine:
        with pytest.raises(EngineJunk) as raised:
            await engine.chat(REQUEST)
    assert raised.value.body == b"<html>"
    assert not raised.value.endless


async def test_an_endless_answer_is_cut_at_the_size_limit() -> None:
    async with serving(create_app(Failure(Mode.ENDLESS))) as url, EngineClient(url, max_bytes=200_000) as engine:
        with pytest.raises(EngineJunk) as raised:
            await engine.chat(REQUEST)
    assert raised.value.code == "engine.too_long"
    assert raised.value.endless
    assert len(raised.value.body) == 200_000


async def test_an_answer_that_dribbles_is_cut_at_the_time_limit() -> None:
    async def dribble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head() + b'{"choices": ')
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with answering(dribble) as url, EngineClient(url, seconds=0.2) as engine:
        with pytest.raises(EngineJunk) as raised:
            async with asyncio.timeout(10):
                await engine.chat(REQUEST)
    assert raised.value.code == "engine.too_slow"
    assert raised.value.endless
    assert raised.value.body.startswith(b'{"choices": ')


async def test_an_engine_that_says_nothing_in_time_is_unavailable() -> None:
    waiting = asyncio.Event()

    async def hang(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await waiting.wait()

    async with answering(hang) as url, EngineClient(url, seconds=0.2) as engine:
        with pytest.raises(Unavailable) as raised:
            await engine.chat(REQUEST)
        waiting.set()
    assert raised.value.code == "engine.timed_out"
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", "engine.unreachable"),
        (b"not http at all\r\n\r\n", "engine.unreachable"),
        (head() + b"{", "engine.not_json"),
        (head("200 OK", "content-length: 100") + b"{", "engine.unreachable"),
    ],
)
async def test_a_broken_connection_or_answer_is_named(sent: bytes, code: str) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    async with answering(answer) as url, EngineClient(url) as engine:
        with pytest.raises((Unavailable, EngineJunk)) as raised:
            await engine.chat(REQUEST)
    assert raised.value.code == code


async def test_an_engine_that_is_not_there_is_unavailable() -> None:
    async with EngineClient("http://127.0.0.1:1") as engine:
        with pytest.raises(Unavailable) as raised:
            await engine.chat(REQUEST)
        assert raised.value.code == "engine.unreachable"
        assert raised.value.__suppress_context__, "what httpx says may repeat what was sent"
        assert not await engine.healthy()


async def test_a_compressed_answer_does_not_unfold() -> None:
    packed = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(gzip.compress(OK)))
    async with client(packed) as engine:
        with pytest.raises(EngineJunk):
            await engine.chat(REQUEST)


async def test_one_call_is_one_request() -> None:
    asked = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return answered(503)

    async with EngineClient("http://engine", wire=TransportWire(httpx.MockTransport(answer))) as engine:
        with pytest.raises(EngineBusy):
            await engine.chat(REQUEST)
    assert asked == 1


async def test_no_more_calls_run_at_once_than_there_is_room() -> None:
    running, most = 0, 0
    go = asyncio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if most == 2:
            go.set()
        await go.wait()
        await asyncio.sleep(0)
        running -= 1
        return answered(200, OK)

    async with EngineClient("http://engine", wire=TransportWire(httpx.MockTransport(answer)), room=2) as engine:
        await asyncio.gather(*(engine.chat(REQUEST) for _ in range(6)))
    assert most == 2


async def test_a_cancelled_call_closes_its_connection_so_that_the_engine_stops() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        gone.set()

    async with answering(wait) as url, EngineClient(url) as engine:
        call = asyncio.create_task(engine.chat(REQUEST))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(gone.wait(), 5)


async def test_an_engine_says_what_it_is() -> None:
    async with serving(create_app()) as url, EngineClient(url) as engine:
        info = await engine.info()
        assert await engine.healthy()
    assert list(info.models) == [MODEL]
    assert info.models[MODEL] > 0
    assert "not a language model" in info.version


async def test_an_engine_without_version_is_rejected_and_an_ill_one_is_not_healthy() -> None:
    async with client(answered(404)) as engine:
        with pytest.raises(EngineRejected):
            await engine.info()
    async with client(answered(500)) as engine:
        assert not await engine.healthy()
