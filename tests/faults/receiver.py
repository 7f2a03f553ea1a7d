"""A webhook's receiver: a process of its own that writes each delivery down durably before it answers.

    python -m tests.faults.receiver LOG SECRET [SHARE]        prints its port; standard library only

It checks the signature as Standard Webhooks say, by code of its own. `POST /mode {"mode": …, "for_s": …}` makes it
answer badly for a while: `fail` (500), `hang` (no answer until then), `drop` (takes the delivery and closes). SHARE of
all deliveries (0.2: a fifth) fail or are dropped at any time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import random
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODES = ("fail", "hang", "drop")


class Receiver(ThreadingHTTPServer):
    """Listens on a free loopback port."""

    daemon_threads = True

    def __init__(self, log: Path, secret: str, share: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._lock = threading.Lock()
        self._mode, self._until = "", 0.0
        self._share, self._dice = share, random.Random(log.name)  # noqa: S311 - any will do

    def set_mode(self, mode: str, for_s: float) -> None:
        self._mode, self._until = mode, time.monotonic() + for_s

    @property
    def mode(self) -> str:
        """How it answers just now; empty for well."""
        return self._mode if time.monotonic() < self._until else ""

    def mood(self) -> str:
        """How it answers one delivery."""
        if self.mode or self._dice.random() >= self._share:
            return self.mode
        return self._dice.choice(("fail", "drop"))

    def signed(self, id_: str, at: str, signatures: str, body: bytes) -> bool:
        """Whether one of the signatures is HMAC-SHA-256 over `id.timestamp.body`."""
        right = hmac.new(self._key, f"{id_}.{at}.".encode() + body, hashlib.sha256).digest()
        given = [part.removeprefix("v1,") for part in signatures.split() if part.startswith("v1,")]
        return any(hmac.compare_digest(base64.b64encode(right).decode(), each) for each in given)

    def write(self, delivery: Mapping[str, object]) -> None:
        with self._lock:
            os.write(self._log, json.dumps(delivery).encode() + b"\n")
            os.fsync(self._log)

    def wait_until_well(self) -> None:
        while self.mode:
            time.sleep(0.05)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/mode":
            asked = json.loads(body)
            self.server.set_mode(asked["mode"], asked["for_s"])
            self._answer(200)
            return
        id_ = self.headers.get("webhook-id", "")
        mode = self.server.mood()
        delivery = {
            "id": id_,
            "body": body.decode(errors="replace"),
            "status": {"": 200, "fail": 500}.get(mode, 0),
            "signed": self.server.signed(
                id_, self.headers.get("webhook-timestamp", ""), self.headers.get("webhook-signature", ""), body
            ),
        }
        self.server.write(delivery)
        if mode == "hang":
            self.server.wait_until_well()
        if mode in ("hang", "drop"):
            self.close_connection = True
            return
        self._answer(500 if mode == "fail" else 200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # the base class's own name
        """Says nothing."""


def main() -> None:
    receiver = Receiver(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 0.0)
    print(receiver.server_address[1], flush=True)
    receiver.serve_forever()


if __name__ == "__main__":
    main()
