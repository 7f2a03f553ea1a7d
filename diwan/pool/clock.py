"""The time by which a pool worker goes: the database's, told by this machine's steady clock between two looks.

Whether a GPU host's own clock is right is nobody's business then: not of the instants that it writes on a case, which
never go back, nor of its signs of life. By how much its own differs is kept, so that the host can say so.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog

log = structlog.get_logger()

# What a clock that is kept by NTP is never off by.
TOLERATED_S = 5.0


def _wall() -> datetime:
    return datetime.now(UTC)


class SharedClock:
    """`asked` gives the database's time; `wall` and `steady` are this machine's clocks. Before the first look it is the
    wall clock's."""

    def __init__(
        self,
        asked: Callable[[], Awaitable[datetime]],
        *,
        wall: Callable[[], datetime] = _wall,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asked = asked
        self._wall = wall
        self._steady = steady
        self._seen: tuple[datetime, float] | None = None
        self.off_s = 0.0

    def __call__(self) -> datetime:
        """Now."""
        if self._seen is None:
            return self._wall()
        theirs, at = self._seen
        return theirs + timedelta(seconds=self._steady() - at)

    async def look(self) -> None:
        """Compare; right to half of what the answer took. Raises as `asked` does."""
        began = self._steady()
        theirs = await self._asked()
        ended, wall = self._steady(), self._wall()
        half = (ended - began) / 2
        self._seen = (theirs, began + half)
        was_off, self.off_s = self.off, (wall - theirs).total_seconds() - half
        if self.off and not was_off:
            log.error("clock.differs", off_s=round(self.off_s))

    @property
    def off(self) -> bool:
        """Whether this machine's clock differs by more than is tolerated; `off_s` > 0: it is ahead."""
        return abs(self.off_s) > TOLERATED_S
