"""Legal periods: the last day by the law's way of counting, standing still, going on. The only user of `holidays`.

Days are the office's calendar days. A period runs to the end of its last day: `due_at` is the first instant of the
day after, so what arrives on the last day at 23:59 is in time.
"""

from __future__ import annotations

import calendar as months
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays

from diwan.domain.case import PeriodState
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import Counting, Period, Roll, Unit, Weekday

_WEEKDAYS = list(Weekday)
_DAY = timedelta(days=1)


def known_country(country: str) -> bool:
    """Whether public holidays of this country (ISO 3166-1 alpha-2) are known."""
    return country in holidays.list_supported_countries(include_aliases=False)


@lru_cache(maxsize=16)
def _public_holidays(country: str) -> holidays.HolidayBase:
    return holidays.country_holidays(country)


@dataclass(frozen=True)
class Calendar:
    """Which days an office works. `closed` and `opened` are the ministry's own: a day of mourning, a moved feast.

    `weekend` has Monday as 0. `opened` counts over everything else: religious feasts are estimates until the moon
    is seen, and a ministry sets them right here.
    """

    time_zone: ZoneInfo
    country: str
    weekend: frozenset[int] = frozenset({5, 6})
    closed: frozenset[date] = field(default_factory=frozenset[date])
    opened: frozenset[date] = field(default_factory=frozenset[date])

    def day_of(self, instant: datetime) -> date:
        """The office's calendar day at `instant` (aware)."""
        return instant.astimezone(self.time_zone).date()

    def end_of(self, day: date) -> datetime:
        """The first instant after `day`, in UTC."""
        return self.start_of(day + _DAY)

    def start_of(self, day: date) -> datetime:
        """The first instant of `day`, in UTC."""
        return datetime.combine(day, time(), self.time_zone).astimezone(UTC)

    def works(self, day: date) -> bool:
        if day in self.opened:
            return True
        closed = day.weekday() in self.weekend or day in self.closed
        return not closed and day not in _public_holidays(self.country)


def calendar_of(procedure: Procedure, *, closed: Iterable[date] = (), opened: Iterable[date] = ()) -> Calendar:
    """The procedure's calendar with the ministry's extra closed and opened days."""
    declared = procedure.calendar
    return Calendar(
        time_zone=ZoneInfo(declared.time_zone),
        country=declared.country,
        weekend=frozenset(_WEEKDAYS.index(day) for day in declared.weekend),
        closed=frozenset(closed),
        opened=frozenset(opened),
    )


def last_day(period: Period, started_on: date, calendar: Calendar, stood_still: int = 0) -> date:
    """The last day of a period that began on `started_on` and stood still for so many of its own units of day."""
    first = started_on + _DAY if period.counting is Counting.DAY_AFTER else started_on
    if period.unit is Unit.WORKING_DAYS:
        last = _nth_working_day(first, period.length + stood_still, calendar)
    elif period.unit is Unit.DAYS:
        last = first + timedelta(days=period.length + stood_still - 1)
    else:
        last = months_later(started_on, period.length) - (started_on + _DAY - first) + timedelta(days=stood_still)
    if period.roll is Roll.NEXT_WORKING_DAY:
        while not calendar.works(last):
            last += _DAY
    return last


def _nth_working_day(first: date, count: int, calendar: Calendar) -> date:
    day = first - _DAY
    while count:
        day += _DAY
        count -= calendar.works(day)
    return day


def working_day(day: date, count: int, calendar: Calendar) -> date:
    """The `count`th working day after `day`, or before it where `count` is negative; `day` itself does not count."""
    step = _DAY if count > 0 else -_DAY
    while count:
        day += step
        if calendar.works(day):
            count -= step.days
    return day


def months_later(day: date, count: int) -> date:
    """The day of the same number, or the month's last where it has none (31 January → 28 February)."""
    year, month = divmod(day.year * 12 + day.month - 1 + count, 12)
    return date(year, month + 1, min(day.day, months.monthrange(year, month + 1)[1]))


def _stood_still(period: Period, since: date, until: date, calendar: Calendar) -> int:
    days = [since + timedelta(days=n) for n in range(max(0, (until - since).days))]
    return sum(calendar.works(day) for day in days) if period.unit is Unit.WORKING_DAYS else len(days)


def start(period: Period, now: datetime, calendar: Calendar) -> PeriodState:
    """The period begins at `now`."""
    today = calendar.day_of(now)
    due = last_day(period, today, calendar)
    return PeriodState(started_on=today, due_on=due, due_at=calendar.end_of(due))


def suspend(state: PeriodState, now: datetime, calendar: Calendar) -> PeriodState:
    """The period stands still from today; a period that ended, or stands still already, is left as it is."""
    if state.ended or state.suspended_on:
        return state
    return state.model_copy(update={"suspended_on": calendar.day_of(now)})


def resume(period: Period, state: PeriodState, now: datetime, calendar: Calendar) -> PeriodState:
    """The period goes on today, and ends later by what it stood still (in its own unit); it never ends earlier."""
    if state.ended or state.suspended_on is None:
        return state
    stood = state.suspended_days + _stood_still(period, state.suspended_on, calendar.day_of(now), calendar)
    due = max(state.due_on, last_day(period, state.started_on, calendar, stood))
    return state.model_copy(
        update={"suspended_on": None, "suspended_days": stood, "due_on": due, "due_at": calendar.end_of(due)}
    )


def end(state: PeriodState) -> PeriodState:
    return state.model_copy(update={"ended": True})


def expire(state: PeriodState) -> PeriodState:
    """The period ends because its last day is over."""
    return state.model_copy(update={"ended": True, "expired": True})


def running(state: PeriodState) -> bool:
    return not state.ended and state.suspended_on is None


def next_end(states: Iterable[PeriodState]) -> datetime | None:
    """When the next of these periods is over; None where none runs."""
    return min((each.due_at for each in states if running(each)), default=None)
