"""Owns the HTTP side of the client commands: one service, one token, bounded and safe retries.

Every request here may be repeated without harm (reads; events, which are known by their id; acts, which carry an
Idempotency-Key), so what is lost on the way is sent again a few times before the command gives up with exit code 75.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote, urlsplit

from diwan.cli.problems import problem_of
from diwan.domain.errors import DiwanError, Retry, Unavailable

# Where click is installed httpx imports a command line of its own, with rich and pygments: 0.25 s of every command.
if "httpx" not in sys.modules:
    sys.modules["httpx._main"] = cast("Any", None)
    import httpx

    del sys.modules["httpx._main"]
else:
    import httpx

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
PAUSES = (0.2, 0.6, 1.5)  # seconds before the second, third and fourth attempt
_LONGEST_PAUSE = 2.0
_PAGE = 200

Json = dict[str, Any]


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")


def segment(value: str) -> str:
    """A value as one segment of a path."""
    return quote(value, safe="")


class Client:
    """Talks to one service. `token` is asked for once, at the first request; an empty one is not sent.

    Raises the errors of diwan.domain.errors: `Unavailable` when nothing answers, else what the answer's
    problem stands for. `purpose` is what an auditor reads for, where it is set. `transport` and `pause` are for tests.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        *,
        purpose: str = "",
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url
        self._purpose = purpose
        self._token = token
        self._pause = pause
        self._authorization: dict[str, str] | None = None
        self._http = httpx.Client(
            base_url=url,
            timeout=_TIMEOUT,
            transport=transport,
            trust_env=not is_loopback(url),  # a proxy of the environment is for other hosts
            headers={"accept-encoding": "identity"},
            event_hooks={"response": [_refuse_packed]},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Json:
        """A JSON object. Empty parameters are left out."""
        return self._json(self._send("GET", path, params={k: v for k, v in (params or {}).items() if v != ""}))

    def download(self, path: str) -> bytes:
        return self._send("GET", path).content

    def make(self, path: str, params: Mapping[str, Any], body: Json | None = None) -> bytes:
        """A POST whose answer is a file; the same again makes it again."""
        return self._send("POST", path, params=params, **({"json": body} if body else {})).content

    def ask(self, path: str, body: Json) -> Json:
        """A POST that reads: a question whose words must not stand in an address."""
        return self._json(self._send("POST", path, json=body))

    def act(self, path: str, body: Json, *, key: str = "") -> Json:
        """A POST that takes effect once, however often it is sent: under one Idempotency-Key, new unless given."""
        return self._json(self._send("POST", path, json=body, headers={"Idempotency-Key": key or str(uuid.uuid4())}))

    def publish(self, text: str) -> Json:
        """Publish a procedure's YAML; the same text again gives the same answer."""
        headers = {"Content-Type": "application/yaml"}
        return self._json(self._send("POST", "/v1/procedures", content=text.encode(), headers=headers))

    def send_event(self, event: Json, parts: Mapping[str, bytes]) -> Json:
        """A structured CloudEvent with its documents (`parts`: the names that its data.documents give → bytes)."""
        body = json.dumps(event, ensure_ascii=False).encode()
        if not parts:
            headers = {"Content-Type": "application/cloudevents+json"}
            return self._json(self._send("POST", "/v1/events", content=body, headers=headers))
        files: dict[str, tuple[None, bytes, str]] = {"event": (None, body, "application/cloudevents+json")}
        files |= {name: (None, content, "application/octet-stream") for name, content in parts.items()}
        return self._json(self._send("POST", "/v1/events", files=files))

    def _send(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **sent: Any) -> httpx.Response:
        if self._authorization is None:
            token = self._token()
            self._authorization = {"Authorization": f"Bearer {token}"} if token else {}
        headers = {**(headers or {}), **self._authorization, "Accept": "application/json, */*;q=0.5"}
        if self._purpose:
            headers["Diwan-Purpose"] = self._purpose
        for pause in (*PAUSES, None):
            try:
                response = self._http.request(method, path, headers=headers, **sent)
                if response.is_success:
                    return response
                error = problem_of(response.status_code, _body(response))
                wait = _retry_after(response)
            except httpx.ConnectError:
                raise _nothing_there(self.url) from None
            except httpx.TransportError as failure:
                error, wait = _lost(self.url, failure), None
            if pause is None or not isinstance(error, Retry):
                raise error from None
            self._pause(pause if wait is None else min(wait, _LONGEST_PAUSE))
        raise AssertionError  # the last round returns or raises

    def _json(self, response: httpx.Response) -> Json:
        body = _body(response)
        if not isinstance(body, dict):
            raise DiwanError(
                "cli.not_json",
                "The answer is not what this service gives.",
                f"Check that {self.url} is a Diwan service.",
            )
        return cast("Json", body)


def pages(client: Client, path: str, params: Mapping[str, str | int], *, limit: int) -> Generator[Json]:
    """The items of a paged list, at most `limit`, over as many pages as it takes."""
    cursor, left = "", limit
    while left:
        page = client.get(path, {**params, "limit": min(left, _PAGE), "cursor": cursor})
        items = cast("list[Json]", page.get("items") or [])[:left]
        yield from items
        cursor, left = str(page.get("next") or ""), left - len(items)
        if not cursor or not items:
            return


def _refuse_packed(response: httpx.Response) -> None:
    """Before its body is read: an auditor asks services that are not trusted, and a few bytes unpack to any number."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Unavailable(
            "cli.answer_packed",
            "The answer is compressed, which was not asked for.",
            "See that no proxy before the service compresses what asks for `identity`.",
        )


def _body(response: httpx.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return None


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() and len(value) < 6 else None


def _nothing_there(url: str) -> Unavailable:
    return Unavailable(
        "cli.service_not_running",
        f"Nothing answers at {url}.",
        "Type `diwan up` in another terminal to start the service here, or set DIWAN_URL to where it runs.",
    )


def _lost(url: str, failure: httpx.TransportError) -> Unavailable:
    return Unavailable(
        "cli.service_unreachable",
        f"The service at {url} did not answer properly ({type(failure).__name__}).",
        "Try again; the same request is safe to repeat. `diwan doctor` says what may be wrong here.",
    )
