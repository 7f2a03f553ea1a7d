"""Values come in however people and models write them, and mean one thing or nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from diwan.domain.errors import InvalidInput
from diwan.domain.facts import FactValue
from diwan.domain.text import Language
from diwan.procedures.parts import ValueType
from diwan.procedures.values import read_value, same_value, show_value

INT, BOOL, DAY, TEXT = ValueType.INTEGER, ValueType.BOOLEAN, ValueType.DATE, ValueType.TEXT


@pytest.mark.parametrize(
    ("type_", "raw", "value"),
    [
        (INT, 350_000, 350_000),
        (INT, 350_000.0, 350_000),
        (INT, "350 000 DH", 350_000),
        (INT, "350\u202f000,00 dirhams", 350_000),
        (INT, "٣٥٠٠٠٠ درهم", 350_000),
        (BOOL, True, True),
        (BOOL, "Oui", True),
        (BOOL, "لا", False),
        (DAY, "2023-05-14", date(2023, 5, 14)),
        (DAY, "14/05/2023", date(2023, 5, 14)),
        (DAY, "14 ماي 2023", date(2023, 5, 14)),
        (DAY, date(2023, 5, 14), date(2023, 5, 14)),
        (TEXT, "  ZZ  100001 ", "ZZ 100001"),
    ],
)
def test_what_has_one_meaning_is_read(type_: ValueType, raw: JsonValue | date, value: FactValue) -> None:
    assert read_value(type_, raw) == value


@pytest.mark.parametrize(
    ("type_", "raw"),
    [
        (INT, True),
        (INT, 350_000.5),
        (INT, float("inf")),
        (INT, float("nan")),
        (INT, 10**20),
        (INT, "three"),
        (INT, "1,250.50"),
        (INT, None),
        (INT, [1]),
        (BOOL, 1),
        (BOOL, "perhaps"),
        (DAY, "14/05"),
        (DAY, "2023-02-30"),
        (DAY, 20230514),
        (DAY, datetime(2023, 5, 14, tzinfo=UTC)),
        (TEXT, "  "),
        (TEXT, 5),
        (TEXT, {"a": "b"}),
    ],
)
def test_what_has_none_is_refused_and_not_repeated(type_: ValueType, raw: JsonValue | date) -> None:
    with pytest.raises(InvalidInput) as error:
        read_value(type_, raw)
    assert str(raw) not in str(error.value).split("Give")[0] or str(raw) in ("1", "5", "  ")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ZZ100001", "zz 100001", True),
        ("ZZ-100001", "ZZ١٠٠٠٠١", True),
        ("ZZ100001", "ZZ100010", False),
        (1, True, False),
        (0, False, False),
        (date(2023, 1, 1), date(2023, 1, 1), True),
        (300_000, 300_000, True),
        ("300000", 300_000, False),
    ],
)
def test_sameness_is_what_a_reader_calls_the_same(one: FactValue, other: FactValue, same: bool) -> None:
    assert same_value(one, other) is same
    assert same_value(other, one) is same


def test_letters_show_values_in_their_language() -> None:
    assert show_value(350_000, Language.AR) == "350.000"
    assert show_value(350_000, Language.FR).replace("\u202f", " ").replace("\xa0", " ") == "350 000"
    assert show_value(date(2022, 11, 14), Language.AR) == "14 نونبر 2022"
    assert show_value(date(2022, 11, 14), Language.FR) == "14 novembre 2022"
    assert show_value(True, Language.AR) == "نعم"


@given(st.integers(0, 10**12), st.sampled_from(list(Language)))
def test_an_amount_that_a_letter_shows_reads_back(amount: int, language: Language) -> None:
    assert read_value(INT, show_value(amount, language)) == amount


@given(st.dates(date(1900, 1, 1), date(2100, 12, 31)), st.sampled_from(list(Language)))
def test_a_day_that_a_letter_shows_reads_back(day: date, language: Language) -> None:
    assert read_value(DAY, show_value(day, language)) == day
