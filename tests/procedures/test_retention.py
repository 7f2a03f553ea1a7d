"""How long data are kept: the last day, and from which day on a case is still within its time."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.ports import RetentionClass
from diwan.procedures.parts import Keep, RetentionYears
from diwan.procedures.retention import began_before, kept_until, shortest_days
from tests.procedures.support import sample

DAYS = st.dates(date(2001, 1, 1), date(2060, 12, 31))
KEEPS = st.builds(Keep, length=st.integers(1, 40), unit=st.sampled_from(["days", "months", "years"]))


@pytest.mark.parametrize(
    ("length", "unit", "began", "last"),
    [
        (5, "years", date(2024, 2, 29), date(2029, 2, 28)),
        (1, "months", date(2027, 1, 31), date(2027, 2, 28)),
        (30, "days", date(2026, 12, 15), date(2027, 1, 14)),
    ],
)
def test_the_last_day(length: int, unit: str, began: date, last: date) -> None:
    assert kept_until(Keep.model_validate({"length": length, "unit": unit}), began) == last


@given(KEEPS, DAYS)
def test_what_began_before_the_day_is_over_and_nothing_else(keep: Keep, today: date) -> None:
    first = began_before(keep, today)
    assert kept_until(keep, first) >= today
    assert kept_until(keep, first - timedelta(days=1)) < today


@given(KEEPS, DAYS)
def test_it_is_kept_as_long_as_is_said_at_least(keep: Keep, began: date) -> None:
    assert (kept_until(keep, began) - began).days >= shortest_days(keep)


def test_both_forms_say_the_same() -> None:
    long = sample()
    lengths = {each.value: long.keep(each).length for each in RetentionClass}
    assert lengths == {"decision": 10, "evidence": 5, "exchange": 2}
    short = long.model_copy(update={"retention": None, "retention_years": RetentionYears(**lengths)})
    assert {each.value: short.keep(each).length for each in RetentionClass} == lengths
    assert {(short.keep(each).unit, short.keep(each).after) for each in RetentionClass} == {("years", "closing")}
