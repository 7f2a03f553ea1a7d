"""Whether a quote stands on a page, and whether a value stands in a quote. What is not found is not evidence.

Both are asked of folded text (diwan/domain/fold.py), at word boundaries, so that neither a part of a number nor a
part of a word counts. Identifiers of letters and digits may come out of a right-to-left line in another order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Self

from diwan.domain.fold import find_dates, fold

# Shorter than this, a quote is found on almost any page. Folded characters without spaces.
SHORTEST = 6
# Yes and no cannot be looked for in a quote, so the quote must say more.
SHORTEST_FOR_BOOLEAN = 12

_IDENTIFIER = re.compile(r"(?<![\w/-])-?(?=[a-z0-9/-]*[a-z])(?=[a-z0-9/-]*\d)[a-z0-9]+(?:[-/][a-z0-9]+)*-?(?![\w/])")
_PART = re.compile(r"[a-z]+|\d+")
_NUMBER = re.compile(r"(?<![\w.,/-])\d{1,18}(?:[.,]\d{1,2})?(?![\d/]|[.,-]\d)")
_WORD = re.compile(r"\w+")
# Deeds write small numbers out; above ten nobody is helped by guessing.
_NUMBER_WORDS = {
    fold(word): number
    for number, words in {
        2: "deux two اثنان اثنين اثنتان اثنتين غرفتان غرفتين بيتان بيتين",
        3: "trois three ثلاث ثلاثة",
        4: "quatre four أربع أربعة",
        5: "cinq five خمس خمسة",
        6: "six ست ستة",
        7: "sept seven سبع سبعة",
        8: "huit eight ثمان ثماني ثمانية",
        9: "neuf nine تسع تسعة",
        10: "dix ten عشر عشرة",
    }.items()
    for word in words.split()
}  # fmt: skip


def long_enough(quote: str, *, boolean: bool) -> bool:
    """Whether a quote says enough to be looked for at all."""
    folded = fold(quote)
    size = len(folded.replace(" ", ""))
    return size >= SHORTEST_FOR_BOOLEAN and " " in folded if boolean else size >= SHORTEST


@dataclass(frozen=True)
class Searchable:
    """A text in the forms in which quotes are looked for. Worth keeping: folding a long page takes 0.1 s."""

    folded: str
    in_one_order: str

    @classmethod
    def of(cls, text: str) -> Self:
        folded = fold(text)
        return cls(folded, _in_one_order(folded))

    def holds(self, wanted: str) -> bool:
        """`wanted`, folded, at word boundaries, as it is or with identifiers in one order."""
        return _bounded(self.folded, wanted) or _bounded(self.in_one_order, _in_one_order(wanted))


def stands_on(quote: str, readings: Iterable[Searchable]) -> bool:
    """Whether `quote` stands, whole, in one of the readings of a page."""
    wanted = fold(quote)
    return any(reading.holds(wanted) for reading in readings)


def value_in(quote: str, value: bool | int | str | date) -> bool:
    """Whether a reader finds `value` in `quote`. Of a boolean nothing can be found: always true."""
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return Decimal(value) in _numbers(fold(quote))
    if isinstance(value, date):
        return value in find_dates(quote)
    wanted = fold(value)
    searchable = Searchable.of(quote)
    return bool(wanted) and (searchable.holds(wanted) or _holds_spaced(searchable.folded, wanted))


def same_text(text: str) -> str:
    """A form in which two spellings of one name or identifier are equal: folded, one order, no separators."""
    return re.sub(r"[ ./-]", "", _in_one_order(fold(text)))


def _bounded(text: str, wanted: str) -> bool:
    if not wanted:
        return False
    before = r"(?<!\w)(?<!\d[.,'/ -])" if wanted[0].isdigit() else r"(?<!\w)"
    after = r"(?!\w|[.,'/-]\d)" if wanted[-1].isdigit() else r"(?!\w)"
    if not wanted[0].isalnum():
        before = ""
    if not wanted[-1].isalnum():
        after = ""
    return re.search(before + re.escape(wanted) + after, text) is not None


def _in_one_order(text: str) -> str:
    """Identifiers as letters, then digits in the lesser of both directions: ZZ100001 and 100001ZZ are one."""
    return _IDENTIFIER.sub(lambda match: _ordered(match[0]), text)


def _ordered(identifier: str) -> str:
    parts = _PART.findall(identifier)
    letters = sorted(part for part in parts if part.isalpha())
    digits = [part for part in parts if part.isdigit()]
    return "-".join([*letters, *min(digits, digits[::-1])])


def _holds_spaced(text: str, wanted: str) -> bool:
    """Long numbers (a bank account, a title) are written with blanks or dashes in one place and without in another."""
    characters = [char for char in wanted if char.isalnum()]
    if sum(char.isdigit() for char in characters) < 6 or len(characters) != len(re.sub(r"[ ./-]", "", wanted)):
        return False
    pattern = r"[ ./-]?".join(map(re.escape, characters))
    return re.search(rf"(?<!\w)(?<!\d[.,/ -]){pattern}(?!\w|[.,/ -]\d)", text) is not None


def _numbers(text: str) -> set[Decimal]:
    written = {Decimal(match[0].replace(",", ".")) for match in _NUMBER.finditer(text)}
    return written | {Decimal(_NUMBER_WORDS[word]) for word in _WORD.findall(text) if word in _NUMBER_WORDS}
