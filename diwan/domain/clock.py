"""Whether the time of day may be trusted: pure comparison of what a machine's two clocks say with what was seen before.

The wall clock says what time it is, and can be set. The steady clock counts seconds since the machine started, also
while it sleeps, and cannot. Where the two move apart by hours, a legal date could fall on a day that never was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# Clocks of two machines may differ by so much; by more, one is wrong, and neither is corrected by the other.
SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reading:
    """Both clocks at one instant. `boot` names the run of the machine that `up_s` counts seconds of."""

    wall: datetime
    boot: str
    up_s: float


@dataclass(frozen=True, slots=True)
class Anchor:
    """Both clocks of one boot when they were first trusted."""

    wall: datetime
    up_s: float


@dataclass(frozen=True, slots=True)
class Tolerance:
    """`jump`: by how much a wall clock may move against its machine's steady clock, and machines may differ.

    `gap`: how long a ministry's service may have stood still when it starts again on a machine that started anew,
    where no steady clock tells how long it was. Legal dates are days: a jump of one must be caught, a step of minutes
    or an hour of summer time must not; a long weekend switched off needs nobody.
    """

    jump: timedelta = timedelta(hours=3)
    gap: timedelta = timedelta(days=4)


class Why(StrEnum):
    FORWARD = "forward"  # the wall clock went ahead of the steady clock
    BACKWARD = "backward"  # it fell behind it
    BEHIND = "behind"  # it is behind what this or another machine of the ministry said before
    GAP = "gap"  # nobody watched for so long, and the machine started anew meanwhile


class Finding(StrEnum):
    """What a person found who compared the service's time with one that they trust."""

    RIGHT = "right"  # the clock says the right time now; it was wrong before
    CORRECTED = "corrected"  # it jumped and was set back to where it should be


@dataclass(frozen=True, slots=True)
class Jump:
    """`off`: how far the wall clock is from where it was expected; ahead is positive."""

    why: Why
    off: timedelta


def jump_of(
    reading: Reading, anchors: Mapping[str, Anchor], seen_at: datetime | None, tolerance: Tolerance
) -> Jump | None:
    """What is wrong with a reading; None where it may be trusted.

    `anchors` by boot; `seen_at`: the latest trusted wall clock of any machine. Without either there is nothing to
    compare with, and the reading is trusted.
    """
    anchor = anchors.get(reading.boot)
    if anchor is not None:
        off = reading.wall - (anchor.wall + timedelta(seconds=reading.up_s - anchor.up_s))
        if abs(off) > tolerance.jump:
            return Jump(Why.FORWARD if off > timedelta(0) else Why.BACKWARD, off)
    if seen_at is not None:
        since = reading.wall - seen_at
        if since < -tolerance.jump:
            return Jump(Why.BEHIND, since)
        if anchor is None and since > tolerance.gap:
            return Jump(Why.GAP, since)
    return None
