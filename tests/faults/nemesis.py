"""What is done to the stack while cases are under way: a shuffled deck of faults, the same for the same seed.

Each process is killed with -9, stopped for some seconds and told to end; Postgres also shuts down `immediate` and
loses a backend; the disk fills; the engine and the webhook's receiver answer badly.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from diwan.embedded.parts import SERVERS, SERVICES
from diwan.embedded.supervisor import Stack
from tests.faults import disk, engine, receiver

PARTS = (*SERVERS, *SERVICES)
_RESTART_S = 60.0
_FILE_LIMIT = 64 * 1024


@dataclass(frozen=True)
class Fault:
    """`kind` done to `what`."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what}"


DECK = (
    *(Fault("kill", part) for part in PARTS),
    *(Fault("stop", part) for part in PARTS),
    *(Fault("end", part) for part in PARTS),
    Fault("immediate", "postgres"),
    Fault("backend", "postgres"),
    Fault("disk", "full"),
    Fault("disk", "postgres"),
    Fault("disk", "temporal"),
    *(Fault("engine", mode) for mode in engine.MODES),
    *(Fault("receiver", mode) for mode in receiver.MODES),
)


def short_deck(dice: random.Random) -> list[Fault]:
    """One of each kind at least, and every process hit once."""
    deck = [Fault(dice.choice(("kill", "stop", "end")), part) for part in PARTS]
    deck += [fault for kind in ("kill", "stop", "end") for fault in [Fault(kind, dice.choice(PARTS))]]
    deck += [Fault("immediate", "postgres"), Fault("backend", "postgres"), Fault("disk", "full")]
    deck += [Fault("disk", "postgres"), Fault("engine", "endless"), Fault("engine", "hang")]
    deck += [Fault("engine", dice.choice(engine.MODES)), Fault("receiver", dice.choice(receiver.MODES))]
    return deck


@dataclass
class Nemesis:
    """`say` gets a line for each fault; `control` are the ports that take modes; `pace` stretches all waits."""

    stack: Stack
    small: disk.SmallDisk
    control: dict[str, int]
    dice: random.Random
    say: Callable[[str], None]
    pace: float = 1.0
    counts: Counter[str] = field(default_factory=Counter[str])

    async def rage(self, deck: Sequence[Fault], stop: asyncio.Event, *, once: bool) -> None:
        """The whole deck once at least, then again and again until `stop`. What was stopped goes on at the end."""
        passes = 0
        while not passes or not (once or stop.is_set()):
            for fault in self.dice.sample(deck, len(deck)):
                if passes and stop.is_set():
                    return
                await self._do(fault)
                await asyncio.sleep(self.dice.uniform(0.1, 3.0) * self.pace)
            passes += 1

    async def _do(self, fault: Fault) -> None:
        if fault.kind in ("kill", "stop", "end", "immediate", "backend") and self.stack.pid(fault.what) is None:
            self.counts["missed (not running)"] += 1
            return
        self.say(str(fault))
        self.counts[fault.kind] += 1
        self.counts["faults"] += 1
        match fault.kind:
            case "kill":
                await self._signal(fault.what, signal.SIGKILL)
            case "end":
                await self._end(fault.what)
            case "immediate":
                await self._signal(fault.what, signal.SIGQUIT)
            case "backend":
                self._kill_a_backend()
            case "stop":
                await self._hold(fault.what, self._some_seconds())
            case "disk":
                await self._fill(fault.what, self.dice.uniform(2.0, 5.0) * self.pace)
            case _:
                await self._answer_badly(fault, self.dice.uniform(2.0, 6.0) * self.pace)

    def _some_seconds(self) -> float:
        """Mostly short; at times longer than a heartbeat's patience."""
        longer = self.dice.random() < 0.12
        return self.pace * (self.dice.uniform(11.0, 14.0) if longer else self.dice.uniform(1.5, 6.0))

    async def _signal(self, part: str, number: signal.Signals, *, within_s: float = _RESTART_S) -> None:
        """Returns when another process has taken its place: a part that dies twice a second never serves anyone."""
        pid = self.stack.pid(part)
        if pid is None:
            return
        os.kill(pid, number)
        until = time.monotonic() + within_s
        while self.stack.pid(part) in (None, pid) and time.monotonic() < until:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)

    async def _end(self, part: str) -> None:
        """As a supervisor ends it: asked first, killed when it does not go."""
        if part != "postgres":
            await self._signal(part, signal.SIGTERM)
            return
        # To Postgres SIGTERM says: when the last client has gone, which pools never do. And 18.4, told to end while
        # it recovers from a crash, may neither end nor serve for ever.
        pid = self.stack.pid(part)
        await self._signal(part, signal.SIGINT, within_s=10.0)
        if pid is not None and self.stack.pid(part) == pid:
            self.counts["postgres hung in its shutdown"] += 1
            await self._signal(part, signal.SIGQUIT)

    def _kill_a_backend(self) -> None:
        pid = self.stack.pid("postgres")
        backends = family(pid)[1:] if pid else []
        if backends:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.dice.choice(backends), signal.SIGKILL)

    async def _hold(self, part: str, seconds: float) -> None:
        """Stops a part with all its children: Postgres's backends would go on without it."""
        pid = self.stack.pid(part)
        if pid is None:
            return
        with contextlib.ExitStack() as descriptors:
            held = [held for each in family(pid) if (held := _open(each, descriptors)) is not None]
            for each in held:
                _tell(each, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                for each in reversed(held):
                    _tell(each, signal.SIGCONT)

    async def _fill(self, what: str, seconds: float) -> None:
        if what == "full" and self.small.fill():
            self.counts["disk: no space left (tmpfs)"] += 1
            try:
                await asyncio.sleep(seconds)
            finally:
                self.small.free()
            return
        part = "postgres" if what == "full" else what
        self.counts[f"disk: file limit of {part}"] += 1
        try:
            pid = self.stack.pid(part)
            disk.limit(family(pid) if pid else [], _FILE_LIMIT)
            await asyncio.sleep(seconds)
        finally:
            pid = self.stack.pid(part)
            disk.unlimit(family(pid) if pid else [])

    async def _answer_badly(self, fault: Fault, seconds: float) -> None:
        self.counts[f"{fault.kind}: {fault.what}"] += 1
        async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
            await http.post(
                f"http://127.0.0.1:{self.control[fault.kind]}/mode", json={"mode": fault.what, "for_s": seconds}
            )
        await asyncio.sleep(seconds)


def family(pid: int) -> list[int]:
    """A process and all that descend from it, itself first. Postgres's backends lead sessions of their own."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                # The command, in parentheses, may hold spaces.
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(process.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _open(pid: int, descriptors: contextlib.ExitStack) -> int | None:
    """A handle of this very process: its number may be another's by the time that it is told to go on."""
    try:
        held = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    descriptors.callback(os.close, held)
    return held


def _tell(held: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(held, number)
