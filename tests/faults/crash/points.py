"""A fault point: where a process under test ends itself, once, the first time that it comes by.

    <home>/faults/armed      points kill only while it is there
    <home>/faults/sprung/    a file for each point that has killed its process

A point's name says the process, the place in the code, what was being written, and on which side of it. Whoever
creates the point's file first dies there; the next one passes. So a commit that is new in the code has its two
points by itself, and what they are need not be listed anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

BEFORE = "before"
AFTER = "after"


@dataclass(frozen=True, order=True)
class Point:
    """`place` is a function's module and qualified name; `what` the ledger's words for what it writes, or empty."""

    process: str
    place: str
    what: str
    side: str

    def __str__(self) -> str:
        return " ".join(part for part in (f"{self.process}:", self.side, self.place, self.what) if part)

    @property
    def _file(self) -> str:
        return hashlib.sha256(str(self).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Sprung:
    """A point at which a process died: which one, when (seconds of the epoch), over which case where it was one."""

    point: Point
    pid: int
    at: float
    case: str


class Minefield:
    """The points of one stack; its folder lies in the stack's home."""

    def __init__(self, home: Path) -> None:
        self._armed = home / "faults" / "armed"
        self._sprung = home / "faults" / "sprung"

    def arm(self) -> None:
        self._sprung.mkdir(parents=True, exist_ok=True)
        self._armed.touch()

    def disarm(self) -> None:
        self._armed.unlink(missing_ok=True)

    def springs(self, point: Point, case: str = "") -> bool:
        """Whether the process is to die here: true once, for whoever comes by first."""
        path = self._sprung / point._file
        if not self._armed.exists() or path.exists():
            return False
        # What is in the file when its name appears: a reader never sees half of it.
        draft = self._sprung / f".{os.getpid()}-{path.name}"
        draft.write_text(json.dumps(asdict(Sprung(point, os.getpid(), time.time(), case))), encoding="utf-8")
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True

    def sprung(self) -> list[Sprung]:
        """The points that have killed, in the order in which they did."""
        paths = (path for path in self._sprung.glob("*") if not path.name.startswith("."))
        read = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        found = [Sprung(Point(**each.pop("point")), **each) for each in read]
        return sorted(found, key=lambda each: each.at)


def end_here() -> NoReturn:
    """As a power cut ends a process: nothing is flushed, closed or told to anybody."""
    os.kill(os.getpid(), signal.SIGKILL)
    while True:
        signal.pause()
