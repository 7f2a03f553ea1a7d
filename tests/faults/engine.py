"""Stands before an engine and makes it fail: time-outs, junk, cut answers, 503, streams without end.

    python -m tests.faults.engine ENGINE_PORT        prints its port; standard library only

`POST /mode {"mode": …, "for_s": …}` sets how it answers calls for a while; what is no call goes straight through.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODES = ("busy", "crash", "not_json", "nonsense", "cut", "half", "endless", "hang", "drop")
_NONSENSE = {
    "id": "x",
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": '{"claims": [{"fact": "price", "val', "tool_calls": None},
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class FaultyEngine(ThreadingHTTPServer):
    """Listens on a free loopback port and passes on to `engine`'s."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, engine: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.engine = engine
        self._mode, self._until = "", 0.0

    def set_mode(self, mode: str, for_s: float) -> None:
        self._mode, self._until = mode, time.monotonic() + for_s

    @property
    def mode(self) -> str:
        return self._mode if time.monotonic() < self._until else ""


class _Handler(BaseHTTPRequestHandler):
    server: FaultyEngine  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self._pass_on("GET", b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/mode":
            asked = json.loads(body)
            self.server.set_mode(asked["mode"], asked["for_s"])
            self._answer(200, b"{}")
            return
        mode = self.server.mode
        if mode and self.path.endswith("/chat/completions"):
            with contextlib.suppress(OSError):
                self._fail(mode)
        else:
            self._pass_on("POST", body)

    def _fail(self, mode: str) -> None:
        if mode == "busy":
            self._answer(503, b'{"error": {"message": "The request queue is full."}}')
        elif mode == "crash":
            self._answer(500, b'{"error": {"message": "The engine died."}}')
        elif mode == "not_json":
            self._answer(200, b"upstream: <html>")
        elif mode == "nonsense":
            self._answer(200, json.dumps(_NONSENSE).encode())
        elif mode == "cut":  # valid JSON, cut off as when the context is full
            choice = {**_NONSENSE["choices"][0], "finish_reason": "length"}  # type: ignore[index]
            self._answer(200, json.dumps({**_NONSENSE, "choices": [choice]}).encode())
        elif mode == "half":  # the connection breaks within the body
            self._answer(200, b'{"choices": [', length=4096)
        elif mode == "endless":
            self._endless()
        elif mode == "hang":
            while self.server.mode == "hang":
                time.sleep(0.05)

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        while self.server.mode == "endless":
            self.wfile.write(b" " * 65_536)
            time.sleep(0.01)

    def _pass_on(self, method: str, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.engine, timeout=120)
        try:
            connection.request(method, self.path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            status, content = answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return  # as an engine that is not there: no answer
        finally:
            connection.close()
        with contextlib.suppress(OSError):
            self._answer(status, content)

    def _answer(self, status: int, content: bytes, *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # the base class's own name
        """Says nothing."""


def main() -> None:
    engine = FaultyEngine(int(sys.argv[1]))
    print(engine.server_address[1], flush=True)
    engine.serve_forever()


if __name__ == "__main__":
    main()
