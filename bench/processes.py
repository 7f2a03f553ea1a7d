"""Processes of the bench: started, waited for, measured by their pid, stopped. Each ends with the bench."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.say import say
from diwan.domain.errors import Final, Unavailable
from diwan.embedded import launch

_START_WITHIN_S = 180.0
_STOP_WITHIN_S = 40.0

Ready = Callable[[], Awaitable[bool]]


async def at_once() -> bool:
    return True


@dataclass
class Process:
    """`command` is what becomes of the process: `bound` makes one of a program and its arguments."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    ready: Ready = at_once
    stop_signal: signal.Signals = signal.SIGTERM
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    async def start(self) -> None:
        """Return when it serves. Raises `Final` where it ends instead, with the end of its log."""
        self._child = self._spawn()
        deadline = time.monotonic() + _START_WITHIN_S
        while not await self.ready():
            if self._child.poll() is not None:
                raise Final("bench.part_failed", f"{self.name} ended while starting: {self._last_line()}", "")
            if time.monotonic() > deadline:
                raise Unavailable("bench.part_slow", f"{self.name} is not ready: {self._last_line()}", f"{self.log}")
            await asyncio.sleep(0.1)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self.environment),
                cwd="/",
                start_new_session=True,
            )

    async def stop(self) -> None:
        if self._child is None or self._child.poll() is not None:
            return
        self._child.send_signal(self.stop_signal)
        try:
            await asyncio.to_thread(self._child.wait, _STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            say(f"{self.name} did not stop; ending it")
            self._child.kill()
            await asyncio.to_thread(self._child.wait)

    def _last_line(self) -> str:
        lines = self.log.read_bytes()[-4000:].decode(errors="replace").strip().splitlines()
        return (lines or ["it said nothing"])[-1][:400]


def bound(program: Path | str, *arguments: str) -> list[str]:
    """A command that cannot outlive this process."""
    return launch.command(signal.SIGTERM, Path(program), *arguments)
