"""A pool worker's time is the database's, however wrong its machine's clock is, and it says by how much that is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from diwan.pool.clock import SharedClock

TRUE = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


class Machine:
    """True time passes by `pass_`; the wall clock is `ahead` of it; each question takes `trip_s` there and back."""

    def __init__(self) -> None:
        self.passed = 1_000.0
        self.ahead = timedelta(0)
        self.trip_s = 0.0

    @property
    def true(self) -> datetime:
        return TRUE + timedelta(seconds=self.passed)

    def clock(self) -> SharedClock:
        return SharedClock(self.asked, wall=lambda: self.true + self.ahead, steady=lambda: self.passed)

    async def asked(self) -> datetime:
        self.passed += self.trip_s / 2
        said = self.true
        self.passed += self.trip_s / 2
        return said


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=1), -timedelta(hours=1), -timedelta(days=1)])
async def test_a_wrong_clock_is_said_and_not_gone_by(machine: Machine, ahead: timedelta) -> None:
    machine.ahead = ahead
    clock = machine.clock()
    await clock.look()
    assert clock() == machine.true
    assert (clock.off, clock.off_s) == (True, ahead.total_seconds())
    machine.passed += 100
    assert clock() == machine.true


async def test_a_clock_that_is_set_meanwhile_moves_nothing(machine: Machine) -> None:
    clock = machine.clock()
    await clock.look()
    machine.ahead = timedelta(days=1)
    machine.passed += 1
    assert clock() == machine.true
    assert not clock.off  # not seen yet
    await clock.look()
    assert clock.off
    machine.ahead = timedelta(0)
    await clock.look()
    assert not clock.off


async def test_the_way_to_the_database_is_allowed_for(machine: Machine) -> None:
    machine.trip_s = 4.0
    clock = machine.clock()
    await clock.look()
    assert clock() == machine.true
    assert clock.off_s == 0.0


async def test_seconds_are_no_wrong_clock(machine: Machine) -> None:
    machine.ahead = timedelta(seconds=3)
    clock = machine.clock()
    await clock.look()
    assert (clock.off, clock.off_s) == (False, 3.0)
