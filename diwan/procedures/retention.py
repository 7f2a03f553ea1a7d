"""For how long a class of a case's data is kept: the last day, and since when it may have begun. Days of the office."""

from __future__ import annotations

from datetime import date, timedelta

from diwan.procedures.parts import Keep
from diwan.procedures.periods import months_later

_DAY = timedelta(days=1)
_MONTHS = {"months": 1, "years": 12}


def shortest_days(keep: Keep) -> int:
    """How many days it is kept at least, wherever in the calendar it begins."""
    if keep.unit == "days":
        return keep.length
    return keep.length * _MONTHS[keep.unit] * 365 // 12 - 2


def kept_until(keep: Keep, began: date) -> date:
    """The last day on which it is kept, where its time began on that day."""
    if keep.unit == "days":
        return began + timedelta(days=keep.length)
    return months_later(began, keep.length * _MONTHS[keep.unit])


def began_before(keep: Keep, today: date) -> date:
    """The first day from which it is still kept today: whatever began before that is over."""
    day = today - timedelta(days=keep.length) if keep.unit == "days" else _months_back(keep, today)
    while kept_until(keep, day) >= today:
        day -= _DAY
    while kept_until(keep, day) < today:
        day += _DAY
    return day


def _months_back(keep: Keep, today: date) -> date:
    return months_later(today, -keep.length * _MONTHS[keep.unit])
