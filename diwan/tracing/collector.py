"""Where units of spans go: a file of OTLP's JSON lines, or a collector of the ministry's (OTLP over HTTP, JSON).

Nothing of the service waits for a collector, and none fails for one: what is not taken is let go and counted.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from pathlib import Path

import httpx

from diwan import metrics
from diwan.tracing.otlp import request

_ROOM = 5000
_TOGETHER = 200
_SECONDS = 5.0
_FLUSH_SECONDS = 3.0
_TRIES = 2


class FileCollector:
    """Appends each unit as one line of OTLP's JSON, in one write: several processes may share the file.

    The file is opened for each, so that it can be moved away at any time. What cannot be written is let go.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def deliver(self, unit: bytes) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, request([unit]) + b"\n")
            finally:
                os.close(descriptor)
        except OSError:
            metrics.SPANS_LOST.add(1, "not_written")


class HttpCollector:
    """From a thread of its own. `endpoint` is the collector's base address; the protocol adds `/v1/traces`."""

    def __init__(self, endpoint: str) -> None:
        self._url = f"{endpoint.rstrip('/')}/v1/traces"
        self._units: queue.Queue[bytes] = queue.Queue(_ROOM)
        threading.Thread(target=self._send_all, name="traces", daemon=True).start()

    def deliver(self, unit: bytes) -> None:
        try:
            self._units.put_nowait(unit)
        except queue.Full:
            metrics.SPANS_LOST.add(1, "queue_full")

    def flush(self) -> None:
        """Waits until all that was delivered before has been tried, some seconds at most."""
        with self._units.all_tasks_done:
            self._units.all_tasks_done.wait_for(lambda: not self._units.unfinished_tasks, _FLUSH_SECONDS)

    def _send_all(self) -> None:
        # No proxy and no credential of the environment: the collector is inside the ministry.
        with httpx.Client(timeout=_SECONDS, trust_env=False, follow_redirects=False) as http:
            while True:
                units = self._waiting()
                try:
                    if not any(self._sent(http, units) for _ in range(_TRIES)):
                        metrics.SPANS_LOST.add(len(units), "not_taken")
                finally:
                    for _ in units:
                        self._units.task_done()

    def _waiting(self) -> list[bytes]:
        units = [self._units.get()]
        with contextlib.suppress(queue.Empty):
            while len(units) < _TOGETHER:
                units.append(self._units.get_nowait())
        return units

    def _sent(self, http: httpx.Client, units: list[bytes]) -> bool:
        try:
            answer = http.post(self._url, content=request(units), headers={"content-type": "application/json"})
        except (httpx.HTTPError, OSError):
            return False
        return answer.is_success
