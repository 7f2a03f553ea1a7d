"""The three catalogues are equals: the same phrases, with the same values in them; formats are each language's own."""

from __future__ import annotations

import string
from datetime import date
from typing import Any

import pytest

from diwan.documents.content import Digits
from diwan.documents.formats import Formats, plural_category
from diwan.documents.phrases import catalogue, counted, identifier, phrase
from diwan.domain.case import Result
from diwan.domain.text import Language

PLURALS = {"zero", "one", "two", "few", "many", "other"}


def places(pattern: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(pattern) if name}


def flat(entry: Any, key: str = "") -> dict[str, frozenset[str]]:
    """Keys with the values that their phrases take; of a count, those that any of its forms takes."""
    if isinstance(entry, str):
        return {key: frozenset(places(entry))}
    if "other" in entry:
        assert set(entry) <= PLURALS
        return {key: frozenset().union(*(places(form) for form in entry.values()))}
    return {name: value for part, inner in entry.items() for name, value in flat(inner, f"{key}.{part}").items()}


def test_all_languages_have_the_same_phrases_with_the_same_values() -> None:
    french = flat(catalogue(Language.FR))
    assert flat(catalogue(Language.EN)) == french
    assert flat(catalogue(Language.AR)) == french


@pytest.mark.parametrize("language", Language)
def test_every_count_has_its_form(language: Language) -> None:
    needed = {plural_category(language, count) for count in range(1, 200)}
    for key in ("receipt.pieces", "receipt.unnamed", "receipt.missing", "request_for_pieces.asked", "reminder.pieces"):
        group, name = key.split(".")
        assert needed <= set(catalogue(language)[group][name]) | {"other"} - {"many" if language is Language.FR else ""}
        for count in range(1, 200):
            assert counted(language, key, count, str(count), case_number="X")


@pytest.mark.parametrize("language", Language)
def test_every_result_is_named(language: Language) -> None:
    for group in ("title", "result"):
        assert set(catalogue(language)["decision"][group]) == {result.value for result in Result}


def test_a_value_is_never_read_as_a_pattern() -> None:
    runs = phrase(
        Language.FR, "withdrawal.withdrawn", received_on="{case_number}", case_number=identifier("{0.__class__}")
    )
    assert [run.text for run in runs][1] == "{case_number}"
    assert [run.text for run in runs][3] == "{0.__class__}"


@pytest.mark.parametrize(
    ("language", "day", "amount", "one"),
    [
        (Language.AR, "14 غشت 2023", "100.000\u00a0درهم", "3\u00a0دراهم"),
        (Language.FR, "14 août 2023", "100\u202f000\u00a0dirhams", "3\u00a0dirhams"),
        (Language.EN, "14 August 2023", "100,000\u00a0dirhams", "3\u00a0dirhams"),
    ],
)
def test_dates_and_amounts_are_written_as_each_language_does(
    language: Language, day: str, amount: str, one: str
) -> None:
    formats = Formats(language)
    assert formats.date(date(2023, 8, 14)) == day
    assert formats.amount(100_000, "MAD") == amount
    assert formats.amount(3, "MAD") == one
    assert formats.amount(5, "XOF").endswith("XOF")


def test_the_first_of_a_month_is_an_ordinal_in_french() -> None:
    assert Formats(Language.FR).date(date(2023, 1, 1)) == "1er janvier 2023"
    assert Formats(Language.FR).date(date(2023, 1, 11)) == "11 janvier 2023"


def test_values_of_facts_are_words_where_they_are_no_numbers() -> None:
    formats = Formats(Language.AR, Digits.ARABIC_INDIC)
    assert [formats.value(value) for value in (True, False, 2, "نص")] == ["نعم", "لا", "٢", "نص"]
    assert formats.value(date(2022, 11, 14)) == "١٤ نونبر ٢٠٢٢"
