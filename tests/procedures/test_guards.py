"""Conditions are checked before they are used, and unknown values leave open only what depends on them."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.errors import InvalidInput
from diwan.procedures.guards import compile_guard, matches, usable_name
from diwan.procedures.parts import ValueType

TYPES = {
    "price": ValueType.INTEGER,
    "national": ValueType.BOOLEAN,
    "permit_date": ValueType.DATE,
    "status": ValueType.TEXT,
}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("price > 'x'", "no matching overload"),
        ("price >", "1:8"),
        ("prise > 1", "undeclared reference to 'prise'"),
        ("price + 1", "not true or false"),
        ("price", "not true or false"),
        ("permit_date > '2023-01-01'", "no matching overload"),
        ("permit_date > date('2023-13-01')", "date() needs a day"),
        ("permit_date > date('2023-1-1')", "date() needs a day"),
        ("permit_date > date(status)", "date() needs a day"),
        ("(" * 60 + "national" + ")" * 60, "limit"),
        ("dyn(national)", "not true or false"),
    ],
)
def test_what_is_not_a_condition_is_refused_when_loaded(text: str, names: str) -> None:
    with pytest.raises(InvalidInput) as error:
        compile_guard(text, TYPES)
    assert names in error.value.message
    assert error.value.remedy or names == "limit"


def test_values_decide() -> None:
    guard = compile_guard("national && price <= 300000 && permit_date >= date('2023-01-01')", TYPES)
    known = {"national": True, "price": 300_000, "permit_date": date(2023, 1, 1)}
    assert guard.uses == {"national", "price", "permit_date"}
    assert guard.holds(known) is True
    assert guard.holds({**known, "price": 300_001}) is False
    assert guard.holds({**known, "permit_date": date(2022, 12, 31)}) is False


def test_an_unknown_value_leaves_open_only_what_it_decides() -> None:
    both = compile_guard("national && price <= 1", TYPES)
    assert both.holds({"national": True}) is None
    assert both.holds({"national": False}) is False
    assert both.holds({"price": 2}) is False
    either = compile_guard("national || price <= 1", TYPES)
    assert either.holds({"national": True}) is True
    assert either.holds({"price": 5}) is None


def test_an_evaluation_that_fails_is_no_answer() -> None:
    assert compile_guard("price / 0 > 1", TYPES).holds({"price": 1}) is None


def test_names_in_strings_and_members_are_not_uses() -> None:
    assert compile_guard("status == 'price' && status.startsWith('national')", TYPES).uses == {"status"}


@pytest.mark.parametrize("name", ["in", "type", "package", "int", "date", "true"])
def test_words_that_cel_keeps_cannot_be_facts(name: str) -> None:
    assert not usable_name(name)
    assert usable_name(name + "_x")


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_cel_and_python_agree_on_whole_numbers(price: int, limit: int) -> None:
    assert compile_guard(f"price <= {limit}", TYPES).holds({"price": price}) is (price <= limit)


def test_patterns_take_linear_time_and_are_checked() -> None:
    assert matches("^[A-Z]{1,2}[0-9]+$", "AB12")
    assert not matches("^(a+)+$", "a" * 5_000 + "!")  # minutes in a backtracking engine
    with pytest.raises(InvalidInput):
        matches("(", "")
