"""What is not found is not evidence; what a reader would find is."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.evidence import Searchable, long_enough, same_text, stands_on, value_in
from diwan.domain.fold import fold

PAGE = """PROMESSE DE VENTE
Prix : 1 350 000 DH – acompte 50 000 DH
الثمن: ٢٨٠٬٠٠٠ درهم
رقم البطاقة: 100001ZZ
المرجع -2026-000142DW
Compte 007 810 0001234567890123 45"""


def on(*texts: str) -> list[Searchable]:
    return [Searchable.of(text) for text in texts]


@pytest.mark.parametrize(
    "quote",
    [
        "Prix : 1 350 000 DH",
        "prix : 1.350.000 dh",
        "PRIX : 1350000 DH",
        "الثمن: 280000 درهم",
        "الثَّمن: ٢٨٠٠٠٠ درهم",
        "رقم البطاقة: ZZ100001",
        "المرجع DW-2026-000142",
        "PROMESSE DE VENTE\nPrix : 1 350 000 DH",
        "acompte 50 000 DH\n\nالثمن",
    ],
)
def test_a_quote_is_found_as_a_reader_would_find_it(quote: str) -> None:
    assert stands_on(quote, on(PAGE))


@pytest.mark.parametrize(
    "quote",
    [
        "350 000 DH",  # the end of a larger number
        "1 350",  # its beginning
        "Prix : 1 350 000 D",
        "rix : 1 350 000 DH",
        "Prix : 350 000 DH",
        "Prix : 1 350 001 DH",
        "Acompte 50 000 DH – Prix",
        "رقم البطاقة: ZZ100002",
        "DW-2026-000143",
        "ZZ10000",
        "",
        "   ",
    ],
)
def test_what_does_not_stand_there_is_not_found(quote: str) -> None:
    assert not stands_on(quote, on(PAGE))


def test_either_extractor_may_have_read_it_and_none_is_no_page() -> None:
    assert stands_on("قرار رقم 12", on("ترار رقم 12", "قرار رقم 12"))
    assert not stands_on("قرار رقم 12", on("ترار رقم 12"))
    assert not stands_on("قرار رقم 12", [])


def test_a_quote_is_not_put_together_from_two_readings() -> None:
    assert not stands_on("alpha beta", on("alpha", "beta"))


@pytest.mark.parametrize(
    ("quote", "value"),
    [
        ("Prix : 350 000 DH", 350000),
        ("Prix : 350.000,00 DHS", 350000),
        ("MAD 350,000.00", 350000),
        ("الثمن: ٣٥٠٬٠٠٠ درهم", 350000),
        ("350000DH", 350000),
        ("3 pièces", 3),
        ("composé de trois pièces", 3),
        ("شقة من غرفتين", 2),
        ("délivré le 15 mars 2024", date(2024, 3, 15)),
        ("بتاريخ ٢٠ نونبر ٢٠٢٤", date(2024, 11, 20)),
        ("15/03/2024", date(2024, 3, 15)),
        ("CNIE n° zz100001", "ZZ100001"),
        ("رقم 100001ZZ", "ZZ100001"),
        ("ZZ 100001", "ZZ100001"),
        ("RIB : 007 810 0001234567890123 45", "007810000123456789012345"),
        ("Me Anas Personne, Agadir", "Anas PERSONNE"),
        ("anything at all", True),
        ("anything at all", False),
    ],
)
def test_a_value_is_found_in_its_quote(quote: str, value: bool | int | str | date) -> None:
    assert value_in(quote, value)


@pytest.mark.parametrize(
    ("quote", "value"),
    [
        ("Prix : 1 350 000 DH", 350000),
        ("Prix : 350 000,50 DH", 350000),
        ("Prix : 350 000 DH", 35000),
        ("le 12/03/2024", 12),
        ("art. 3/2024", 3),
        ("dossier A-3", 3),
        ("n° 3.5", 3),
        ("une pièce", 3),
        ("délivré le 15 mars 2024", date(2024, 3, 16)),
        ("délivré en mars", date(2024, 3, 15)),
        ("CNIE n° ZZ1000012", "ZZ100001"),
        ("CNIE n° ZZ100001", "ZZ10000"),
        ("RIB : 007 810 0001234567890123 456", "007810000123456789012345"),
        ("Me Anas Personne", "Anas"[:3]),
        ("x", ""),
    ],
)
def test_a_value_that_is_only_part_of_another_is_not_found(quote: str, value: int | str | date) -> None:
    assert not value_in(quote, value)


def test_short_quotes_say_nothing_and_a_yes_or_no_needs_words() -> None:
    assert long_enough("3 pièces", boolean=False)
    assert not long_enough("3 DH", boolean=False)
    assert not long_enough("  3   D H ", boolean=False)
    assert long_enough("Première vente : oui", boolean=True)
    assert not long_enough("oui", boolean=True)
    assert not long_enough("anticonstitutionnellement", boolean=True)


def test_two_spellings_of_one_identifier_are_the_same() -> None:
    assert same_text("ZZ 100001") == same_text("zz100001") == same_text("100001ZZ")
    assert same_text("ZZ100001") != same_text("ZZ100002")
    assert same_text("2024-03-15") == same_text(str(date(2024, 3, 15)))


words = st.lists(
    st.text("abcdeéمنزل", min_size=1, max_size=6) | st.integers(0, 9_999).map(str), min_size=1, max_size=12
)


@given(words, st.data())
def test_whole_words_of_a_page_are_always_found(page: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(page) - 1))
    end = data.draw(st.integers(start + 1, len(page)))
    before_is_number = start > 0 and page[start - 1].isdigit() and page[start].isdigit()
    after_is_number = end < len(page) and page[end].isdigit() and page[end - 1].isdigit()
    if before_is_number or after_is_number:
        return  # "1 350 000" is one number: its parts are no quotes
    assert stands_on(" ".join(page[start:end]), on("\n".join(page)))


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_number_is_found_in_a_quote_exactly_where_it_is_the_number(written: int, claimed: int) -> None:
    grouped = f"{written:,}".replace(",", " ")
    assert value_in(f"Prix : {grouped} DH", claimed) == (written == claimed)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_stands_on_its_own_page_and_nothing_raises(quote: str, page: str) -> None:
    assert stands_on(page, on(page)) is bool(fold(page))
    assert value_in(page, quote) >= stands_on(quote, on(page))
    assert long_enough(quote, boolean=False) >= long_enough(quote, boolean=True)
