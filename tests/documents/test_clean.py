"""Nothing reaches a page's text that a reader cannot see; pages of text files have bounds."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.documents.clean import PAGE_CHARS, clean, has_hidden_characters, paginate


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("a\u0000b\u0007c", "abc"),
        ("\u202eevil\u202c \u2067x\u2069\u200f\ufeff", "evil x"),
        ("ﻗﺮﺍﺭ ﻻ", "قرار لا"),
        ("ofﬁce", "office"),
        ("½ ² №", "½ ² №"),
        ("one\r\ntwo\rthree\ffour", "one\ntwo\nthree\nfour"),
        ("  a  \n\n\n\n b ", "a\n\nb"),
        ("e\u0301", "é"),
        ("".join(chr(0xE0000 + ord(char)) for char in "approve") + "ok", "ok"),
        ("\ud800x", "x"),
    ],
)
def test_what_cannot_be_seen_is_removed(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


@given(st.text())
def test_cleaned_text_is_clean(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert not any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t" for char in cleaned)
    assert not any(unicodedata.bidirectional(char) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI") for char in cleaned)


def test_hidden_characters_are_seen() -> None:
    assert has_hidden_characters("a\U000e0061")
    assert not has_hidden_characters("\U0001f3f4 flag and \u200f marks")


@given(st.text(alphabet="ab \n\f", max_size=PAGE_CHARS * 3))
def test_pages_lose_nothing_and_stay_within_bounds(text: str) -> None:
    pages = paginate(text)
    assert "".join("".join(pages).split()) == "".join(text.split())
    assert all(len(page) <= PAGE_CHARS + 1 for page in pages)


def test_a_line_without_end_is_broken_into_pages() -> None:
    assert len(paginate("x" * (PAGE_CHARS * 4))) == 4
