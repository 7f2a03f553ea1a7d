"""How urgent a case is among all that wait: 1 to 5, by the working time left to its nearest legal or promised date.

| | a period that the law ends (fatal) | a target |
|---|---|---|
| 1 | over, on its last day, or one working day before | |
| 2 | two or three working days before | missed, on its last day, or one working day before |
| 3 | four to ten working days before | two to ten working days before |
| 4 | earlier | earlier |
| 5 | none runs | none runs, and none was missed |

The most urgent of a case's periods counts. One that stands still does not: the case waits for somebody else. Nor does a
fatal one that is over and has had its effect; a target that was missed counts until the case ends. What is not
written down (a case that moved last before this was known) is 3, which is also what Temporal takes for granted.

Written down with every move, like the reminders: the instants at which the case becomes 3, 2 and 1, so that whoever
rings needs neither the procedure nor a calendar.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from diwan.domain.case import CaseState, PeriodState
from diwan.procedures import periods
from diwan.procedures.periods import Calendar
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import Nature

UNKNOWN = 3
_NONE = 5
# How many working days before the last one a case becomes 3, 2 and 1.
_BEFORE = {Nature.FATAL: (10, 3, 1), Nature.TARGET: (10, 1)}


def rises(procedure: Procedure, state: CaseState, calendar: Calendar) -> list[datetime]:
    """When the case becomes 3, then 2, then 1, as its periods stand; empty where none counts."""
    found: list[datetime] = []
    for name, period in state.periods.items():
        declared = procedure.periods.get(name)
        nature = declared.nature if declared else Nature.TARGET
        if _counts(period, nature):
            own = [_days_before(period.due_on, days, calendar) for days in _BEFORE[nature]]
            found = [min(pair) for pair in zip(found, own, strict=False)] + found[len(own) :] + own[len(found) :]
    return found


def priority(known: Sequence[datetime] | None, now: datetime) -> int:
    """1 (most urgent) to 5 at `now`; `known` is what `rises` gave, None where that was never asked."""
    if known is None:
        return UNKNOWN
    return _NONE - 1 - bisect_right(known, now) if known else _NONE


def _counts(period: PeriodState, nature: Nature) -> bool:
    return periods.running(period) or (period.expired and nature is Nature.TARGET)


def _days_before(last: date, days: int, calendar: Calendar) -> datetime:
    """The first instant of the day after which so many working days are left up to `last`, itself among them."""
    while not calendar.works(last):
        last -= timedelta(days=1)
    return calendar.start_of(periods.working_day(last, -days, calendar))
