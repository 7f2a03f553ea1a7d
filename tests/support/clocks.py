"""A machine's two clocks for tests: they move together, until a test sets the wall clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from diwan.domain.clock import Reading, Tolerance
from diwan.store.clock_watch import ClockWatch
from tests.support.databases import TestDatabase


class Machine:
    """`clock` is true time, which the steady clock follows; the wall clock is `ahead` of it."""

    def __init__(self, clock: Callable[[], datetime], *, boot: str = "boot-1") -> None:
        self._clock = clock
        self.boot = boot
        self.ahead = timedelta(0)

    def wall(self) -> datetime:
        return self._clock() + self.ahead

    def __call__(self) -> Reading:
        return Reading(self.wall(), self.boot, (self._clock() - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds())


def forget(database: TestDatabase, tenant: str) -> None:
    """What was seen of its clocks: another test happens at another time."""
    with database.superuser() as connection:
        connection.execute(
            "update clock_watch set seen_at = null, anchors = '{}', frozen_at = null, stands_at = null, reason = '', "
            "off_s = 0 where tenant = %s",
            [tenant],
        )


def watch_on(machine: Machine, part: str = "worker") -> ClockWatch:
    return ClockWatch(machine, Tolerance(), part=part)
