"""One process under the supervisor: started, watched, started again when it dies, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diwan.domain.errors import DiwanError, Final, Unavailable
from diwan.embedded.home import ProcessRecord, started_at

_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 10.0
_STABLE_S = 30.0  # a process that lived this long starts again without a pause
LOG_BYTES, LOG_FILES = 10 * 1024 * 1024, 3

Say = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """What a child runs. `command` is asked at each start; `ready` says whether it serves."""

    name: str
    command: Callable[[], Sequence[str]]
    ready: Callable[[], Awaitable[bool]]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    stop_within_s: float = 25.0
    why_not_started: Callable[[str], DiwanError] | None = None


class Child:
    """A program that runs until `stop`. Use from one event loop, in a thread that outlives the process."""

    def __init__(self, program: Program, log: Path, *, say: Say, changed: Callable[[], None]) -> None:
        self.program = program
        self.log = log
        self.restarts = 0
        self._say = say
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._started = 0.0

    @property
    def pid(self) -> int | None:
        """The pid while it lives."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def record(self) -> ProcessRecord | None:
        """What the next run needs to know of it, while it lives."""
        started = None if self.pid is None else started_at(self.pid)
        if self.pid is None or started is None:
            return None
        return ProcessRecord(self.program.name, self.pid, started, int(self.program.stop_signal))

    async def start(self, *, within_s: float) -> None:
        """Start it and wait until it serves; from then on it is started again whenever it dies.

        Raises the program's own error, or `Final` with the last line of its log, when it ends instead.
        """
        at = self.log.stat().st_size if self.log.exists() else 0
        await self._spawn()
        deadline = time.monotonic() + within_s
        while not await self._serves():
            if self.pid is None:
                raise self._failure(at)
            if time.monotonic() > deadline:
                await self._end()
                raise Unavailable(
                    "part.slow", f"{self.program.name} was not ready after {within_s:.0f} s.", f"See {self.log}."
                )
            await asyncio.sleep(0.05)
        self._watch = asyncio.create_task(self._keep_alive(), name=f"watch-{self.program.name}")

    async def retire(self) -> None:
        """Do not start it again when it ends."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None

    async def stop(self) -> None:
        """Stop it, and do not start it again."""
        await self.retire()
        await self._end()

    def hasten(self) -> None:
        """End it at once, whatever it is doing."""
        if self.pid is not None:
            os.kill(self.pid, self.program.kill_signal)

    def rotate(self) -> None:
        """Keep the log small: copy it away and empty it. The child appends, so it goes on at the start."""
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size < LOG_BYTES:
                return
            for number in range(LOG_FILES - 1, 0, -1):
                older = self.log.with_suffix(f".log.{number}")
                if older.exists():
                    older.replace(self.log.with_suffix(f".log.{number + 1}"))
            shutil.copy(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)

    async def _spawn(self) -> None:
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.program.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env=dict(self.program.environment),
                cwd="/",
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, which stops in order
            )
        finally:
            os.close(descriptor)
        self._started = time.monotonic()
        self._changed()

    async def _serves(self) -> bool:
        """Whether it serves, and is still the one that does: a dying child must not be taken for a ready one."""
        serves = await self.program.ready()
        return serves and self.pid is not None

    async def _keep_alive(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            if self._process is not None:
                code = await self._process.wait()
                lived = time.monotonic() - self._started
                pause = _FIRST_PAUSE_S if lived > _STABLE_S else min(pause * 2, _LAST_PAUSE_S)
                self._say(f"{self.program.name} ended ({_how(code)}); starting it again. Log: {self.log}")
            await asyncio.sleep(pause)
            try:
                await self._spawn()
                self.restarts += 1
            except (OSError, DiwanError) as error:
                self._process = None
                pause = min(pause * 2, _LAST_PAUSE_S)
                self._say(f"{self.program.name} could not be started ({error}); trying again")

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(self.program.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), self.program.stop_within_s)
        except TimeoutError:
            self._say(f"{self.program.name} did not stop within {self.program.stop_within_s:.0f} s; ending it")
            process.send_signal(self.program.kill_signal)
            await process.wait()

    def _failure(self, at: int) -> DiwanError:
        with self.log.open("rb") as file:
            file.seek(at)
            output = file.read()[-4000:].decode(errors="replace")
        if self.program.why_not_started is not None:
            return self.program.why_not_started(output)
        code = self._process.returncode if self._process is not None else None
        last = _last_line(output)
        return Final(
            "part.failed",
            f"{self.program.name} ended while starting ({_how(code)}){f': {last}' if last else '.'}",
            f"See {self.log}.",
        )


def _how(code: int | None) -> str:
    if code is None:
        return "unknown"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _last_line(output: str) -> str:
    """What the program said last: its own error where it has one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    own = [line.removeprefix("diwan: ") for line in lines if line.startswith("diwan: ")]
    return (own or lines or [""])[-1][:300]
