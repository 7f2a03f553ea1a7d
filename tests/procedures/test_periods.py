"""Counting of days: by hand for the law's own rules, by property for what must hold always."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diwan.procedures import periods
from diwan.procedures.periods import Calendar, calendar_of, last_day
from diwan.procedures.steps import Period
from tests.procedures.support import office, sample

LOCAL = {"ar": "أجل", "fr": "délai", "en": "period"}


def period(unit: str, length: int, counting: str = "day_after", roll: str = "none") -> Period:
    return Period.model_validate(
        {
            "label": LOCAL,
            "legal_basis": LOCAL,
            "nature": "target",
            "unit": unit,
            "length": length,
            "counting": counting,
            "roll": roll,
            "start": [{"event": "diwan.application.submitted"}],
        }
    )


@pytest.mark.parametrize(
    ("unit", "length", "counting", "roll", "start", "last"),
    [
        ("days", 10, "day_after", "none", "2026-11-02", "2026-11-12"),
        ("days", 10, "same_day", "none", "2026-11-02", "2026-11-11"),
        ("days", 5, "day_after", "none", "2026-11-02", "2026-11-07"),  # a Saturday
        ("days", 5, "day_after", "next_working_day", "2026-11-02", "2026-11-09"),
        ("days", 4, "day_after", "next_working_day", "2026-11-02", "2026-11-09"),  # 6 November: the Green March
        ("working_days", 1, "day_after", "none", "2026-11-05", "2026-11-09"),  # Thursday, over feast and weekend
        ("working_days", 1, "same_day", "none", "2026-11-05", "2026-11-05"),
        ("working_days", 5, "day_after", "none", "2026-11-02", "2026-11-10"),
        ("months", 1, "day_after", "none", "2027-01-31", "2027-02-28"),
        ("months", 1, "day_after", "none", "2028-01-31", "2028-02-29"),
        ("months", 2, "day_after", "none", "2026-11-23", "2027-01-23"),
        ("months", 2, "same_day", "none", "2026-11-23", "2027-01-22"),
        ("months", 14, "day_after", "none", "2026-11-23", "2028-01-23"),
    ],
)
def test_the_last_day(unit: str, length: int, counting: str, roll: str, start: str, last: str) -> None:
    found = last_day(period(unit, length, counting, roll), date.fromisoformat(start), office())
    assert found == date.fromisoformat(last)


def test_the_ministry_closes_and_opens_days_of_its_own() -> None:
    calendar = calendar_of(sample(), closed=[date(2026, 11, 9)], opened=[date(2026, 11, 6), date(2026, 11, 7)])
    one = period("working_days", 1)
    assert last_day(one, date(2026, 11, 5), calendar) == date(2026, 11, 6)
    assert last_day(period("working_days", 3), date(2026, 11, 5), calendar) == date(2026, 11, 10)


def test_a_period_ends_with_its_last_day_by_the_office_clock() -> None:
    calendar = office()
    state = periods.start(period("days", 10), datetime(2026, 11, 2, 22, 30, tzinfo=UTC), calendar)
    assert state.started_on == date(2026, 11, 2)  # Casablanca is an hour ahead: 23:30
    state = periods.start(period("days", 10), datetime(2026, 11, 2, 23, 30, tzinfo=UTC), calendar)
    assert state.started_on == date(2026, 11, 3)
    assert state.due_at == datetime(2026, 11, 13, 23, 0, tzinfo=UTC)  # the 13th is its last day


def test_standing_still_moves_the_end_by_as_much() -> None:
    calendar, sixty = office(), period("days", 60)
    opened = datetime(2026, 11, 2, 9, tzinfo=UTC)
    state = periods.start(sixty, opened, calendar)
    still = periods.suspend(state, opened + timedelta(days=10), calendar)
    assert not periods.running(still)
    again = periods.resume(sixty, still, opened + timedelta(days=17), calendar)
    assert again.suspended_days == 7
    assert again.due_on == state.due_on + timedelta(days=7)
    assert periods.running(again)
    assert periods.suspend(still, opened + timedelta(days=12), calendar) == still


UNITS = st.sampled_from(["days", "working_days", "months"])
COUNTING = st.sampled_from(["day_after", "same_day"])
ROLL = st.sampled_from(["none", "next_working_day"])
STARTS = st.integers(0, 7 * 365 * 24).map(lambda hours: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hours))
DAYS = st.lists(st.dates(date(2024, 1, 1), date(2032, 1, 1)), max_size=10)
CALENDARS = st.builds(calendar_of, st.just(sample()), closed=DAYS, opened=DAYS)


PAUSES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=4)


@given(UNITS, st.integers(1, 90), COUNTING, ROLL, STARTS, CALENDARS, PAUSES)
@settings(max_examples=150, deadline=None)
def test_suspension_never_shortens(
    unit: str,
    length: int,
    counting: str,
    roll: str,
    now: datetime,
    calendar: Calendar,
    pauses: list[tuple[int, int]],
) -> None:
    of = period(unit, length, counting, roll)
    state = periods.start(of, now, calendar)
    for after, pause in pauses:
        now += timedelta(days=after)
        left = (state.due_on - calendar.day_of(now)).days
        state = periods.suspend(state, now, calendar)
        now += timedelta(days=pause)
        resumed = periods.resume(of, state, now, calendar)
        assert resumed.due_on >= state.due_on
        assert resumed.due_at >= state.due_at
        if unit != "working_days":
            assert (resumed.due_on - calendar.day_of(now)).days >= left - 5 * (roll != "none")
        state = resumed


@given(UNITS, st.integers(1, 60), COUNTING, STARTS, CALENDARS)
@settings(max_examples=100, deadline=None)
def test_rolling_only_ever_moves_to_a_working_day_later(
    unit: str, length: int, counting: str, now: datetime, calendar: Calendar
) -> None:
    today = calendar.day_of(now)
    plain = last_day(period(unit, length, counting), today, calendar)
    rolled = last_day(period(unit, length, counting, "next_working_day"), today, calendar)
    assert rolled >= plain >= today
    assert calendar.works(rolled)
    assert all(not calendar.works(plain + timedelta(days=n)) for n in range((rolled - plain).days))


@given(st.integers(1, 120), COUNTING, STARTS, CALENDARS)
@settings(max_examples=100, deadline=None)
def test_working_days_are_counted_one_by_one(length: int, counting: str, now: datetime, calendar: Calendar) -> None:
    today = calendar.day_of(now)
    last = last_day(period("working_days", length, counting), today, calendar)
    first = today if counting == "same_day" else today + timedelta(days=1)
    counted = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    assert sum(calendar.works(day) for day in counted) == length
    assert calendar.works(last)
