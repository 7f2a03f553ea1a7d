"""A fake of the HTTP service: scripted answers on a free loopback port, and what was asked. Not the real routes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def problem(status: int, code: str, detail: str, remedy: str = "", **more: Any) -> Answer:
    body = {"type": f"urn:diwan:problem:{code}", "status": status, "code": code, "detail": detail, "remedy": remedy}
    return Answer(status, body | more, {"Content-Type": "application/problem+json"})


Script = Callable[[Asked], Answer] | Answer | list[Answer]


class FakeService:
    """`answers["GET /v1/cases"]` is an answer, a function, or a list of answers of which the last one stays."""

    def __init__(self) -> None:
        self.answers: dict[str, Script] = {}
        self.asked: list[Asked] = []
        self.url = ""
        self._lock = threading.Lock()

    def answer(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            script = self.answers.get(f"{asked.method} {asked.path.partition('?')[0]}")
            if script is None:
                return problem(404, "http.no_such_address", "The fake has no such address.")
            if isinstance(script, list):
                return script.pop(0) if len(script) > 1 else script[0]
            return script if isinstance(script, Answer) else script(asked)


@contextmanager
def serving(fake: FakeService) -> Generator[FakeService]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            given = fake.answer(Asked(self.command, self.path, headers, body))
            data = given.encoded()
            self.send_response(given.status)
            for name, value in ({"Content-Type": "application/json"} | given.headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _do

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
