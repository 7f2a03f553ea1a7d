"""How urgent a case is: by the table of diwan/procedures/urgency.py, and by nothing else."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.case import CaseState, PeriodState
from diwan.procedures import urgency
from diwan.procedures.examples import example_text
from diwan.procedures.flow import open_case
from diwan.procedures.load import load_procedure
from diwan.procedures.periods import Calendar

PROCEDURE = load_procedure(example_text("direct-housing-aid"))
FATAL, TARGET = "decision", "examination"
CALENDAR = Calendar(ZoneInfo("UTC"), "MA", closed=frozenset({date(2026, 9, 24)}))
# A Monday; in the two weeks before it no public holiday, but the Thursday that the ministry closed.
LAST = date(2026, 9, 28)


def state(last: date = LAST, name: str = FATAL, **more: object) -> CaseState:
    period = PeriodState(started_on=date(2026, 8, 3), due_on=last, due_at=CALENDAR.end_of(last))
    return CaseState(periods={name: period.model_copy(update=more)})


def at(day: date, of: CaseState) -> int:
    return urgency.priority(
        urgency.rises(PROCEDURE, of, CALENDAR), datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("day", "fatal", "target"),
    [
        (date(2026, 8, 10), 4, 4),
        (date(2026, 9, 10), 4, 4),  # eleven working days before
        (date(2026, 9, 11), 3, 3),  # ten
        (date(2026, 9, 21), 3, 3),  # four: the closed Thursday is none
        (date(2026, 9, 22), 2, 3),  # three
        (date(2026, 9, 24), 2, 3),  # closed: still two
        (date(2026, 9, 25), 1, 2),  # one
        (date(2026, 9, 27), 1, 2),
        (LAST, 1, 2),
        (date(2026, 9, 29), 1, 2),  # over, and not yet looked at
    ],
)
def test_working_time_left_says_how_urgent_a_case_is(day: date, fatal: int, target: int) -> None:
    assert at(day, state(name=FATAL)) == fatal
    assert at(day, state(name=TARGET)) == target


def test_a_last_day_that_is_no_working_day_presses_as_the_one_before_it() -> None:
    friday, sunday = state(LAST - timedelta(days=3)), state(LAST - timedelta(days=1))
    days = [LAST - timedelta(days=n) for n in range(25)]
    assert [at(day, sunday) for day in days] == [at(day, friday) for day in days]
    assert at(date(2026, 9, 24), sunday) == 1
    assert at(date(2026, 9, 22), sunday) == 2


def test_the_most_urgent_period_counts() -> None:
    near, far = state(LAST, TARGET), state(LAST + timedelta(days=60), FATAL)
    both = CaseState(periods={**far.periods, **near.periods})
    assert at(LAST, far) == 4
    assert at(LAST, both) == 2
    assert at(LAST + timedelta(days=60), both) == 1


def test_a_period_that_stands_still_or_ended_does_not_press() -> None:
    assert at(LAST, state(suspended_on=date(2026, 9, 1))) == 5
    assert at(LAST, state(ended=True)) == 5
    assert at(LAST, state(ended=True, expired=True)) == 5
    assert at(LAST, CaseState()) == 5


def test_a_missed_target_presses_until_the_case_ends() -> None:
    assert at(LAST + timedelta(days=300), state(name=TARGET, ended=True, expired=True)) == 2


def test_what_was_never_written_down_is_in_the_middle() -> None:
    assert urgency.priority(None, datetime(2026, 9, 1, tzinfo=UTC)) == 3


def test_a_case_has_it_written_down_from_its_opening_and_reads_it_back() -> None:
    now = datetime(2026, 8, 3, 9, tzinfo=UTC)
    opened = open_case(PROCEDURE, now, CALENDAR).state
    assert opened.rises
    assert CaseState.model_validate_json(opened.model_dump_json()).rises == opened.rises
    assert urgency.priority(opened.rises, now) == 4


def test_a_state_of_before_keeps_its_form_on_the_ledger() -> None:
    assert "rises" not in CaseState().model_dump(mode="json")
    assert CaseState(rises=[]).model_dump(mode="json")["rises"] == []


@given(
    st.lists(
        st.tuples(st.sampled_from([FATAL, TARGET]), st.integers(0, 400)), max_size=2, unique_by=lambda each: each[0]
    ),
    st.integers(-30, 430),
)
def test_a_case_never_becomes_less_urgent_with_time(dates: list[tuple[str, int]], day: int) -> None:
    periods = {}
    for name, days in dates:
        periods |= state(date(2026, 8, 3) + timedelta(days=days), name).periods
    rises = urgency.rises(PROCEDURE, CaseState(periods=periods), CALENDAR)
    now = datetime(2026, 8, 3, tzinfo=UTC) + timedelta(days=day)
    assert rises == sorted(rises)
    assert 1 <= urgency.priority(rises, now + timedelta(days=1)) <= urgency.priority(rises, now) <= 5
