"""Values in folded text: numbers, dates, identifiers. A reader gives the value and the text that it was read from."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

from diwan.domain.fold import find_dates, fold

Value = bool | int | str
Read = tuple[Value, str]
Reader = Callable[[str], Read | None]

_CURRENCY = r"(?:dirhams?|dhs?|mad|درهما?|دراهم|euros?|eur|€)"
_AMOUNT = r"(\d{1,12})(?:[.,]00?)?"
_WITH_CURRENCY = re.compile(
    rf"(?<![\w.,/-]){_AMOUNT} ?{_CURRENCY}(?!\w)|{_CURRENCY}\.? ?{_AMOUNT}(?![\w/-])|(?<![\w.,/-]){_AMOUNT} ?د\.? ?م"
)
_BARE = re.compile(rf"(?<![\w.,/-]){_AMOUNT}(?![\w/%]|[.,-]\d)")
_COUNT = re.compile(r"(?<![\w.,/-])(\d{1,2})(?![\d/%]|[.,-]\d| ?(?:m2|م2|°|eme|er|ere|th|nd|rd)\b)")
_COUNT_WORDS = {
    fold(word): number
    for number, words in {
        1: "une un one واحدة",
        2: "deux two غرفتان غرفتين اثنتين اثنتان بيتين بيتان اثنان اثنين",
        3: "trois three ثلاث ثلاثة",
        4: "quatre four أربع أربعة",
        5: "cinq five خمس خمسة",
        6: "six ست ستة",
        7: "sept seven سبع سبعة",
        8: "huit eight ثمان ثماني",
        9: "neuf nine تسع تسعة",
        10: "dix ten عشر عشرة",
    }.items()
    for word in words.split()
}  # fmt: skip
_WORD = re.compile(r"\w+")
_LETTERS_DIGITS = re.compile(
    r"(?<![\w/-])([a-z]{1,3})[ -]?(\d{3,8})(?![\w/]|-\d)|(?<![\w/-])(\d{3,8})([a-z]{1,3})(?![\w/-])"
)
_ACCOUNT = re.compile(r"(?<!\w)(?:ma(?=\d))?\d(?:[ .-]?\d){15,33}(?![\w])")
SMALLEST_PRICE = 1_000


def amount(text: str) -> Read | None:
    """The first amount beside a currency, else the first bare number that could be a price."""
    for match in _WITH_CURRENCY.finditer(text):
        value = int(next(group for group in match.groups() if group))
        if value >= SMALLEST_PRICE:
            return value, match[0]
    for match in _BARE.finditer(text):
        if int(match[1]) >= SMALLEST_PRICE and not _year(match[1]):
            return int(match[1]), match[0]
    return None


def _year(digits: str) -> bool:
    return len(digits) == 4 and 1900 <= int(digits) <= 2100


def amount_with_currency(text: str) -> Read | None:
    match = _WITH_CURRENCY.search(text)
    if match is None:
        return None
    value = int(next(group for group in match.groups() if group))
    return (value, match[0]) if value >= SMALLEST_PRICE else None


def count(text: str) -> Read | None:
    """A small number, in digits or, up to ten, in words."""
    digits = _COUNT.search(_without_dates(text))
    if digits:
        return int(digits[1]), digits[0]
    for word in _WORD.findall(text):
        if word in _COUNT_WORDS and word not in ("un", "une", "one"):
            return _COUNT_WORDS[word], word
    return None


def count_at_end(text: str) -> Read | None:
    """A small number as the last word of `text`."""
    last = text.split()[-1:]
    if not last or re.search(r"[\d/.,-]", last[0].strip("0123456789()")):
        return None
    word = last[0].strip("()")
    if word.isdigit() and len(word) <= 2:
        return int(word), word
    return (_COUNT_WORDS[word], word) if word in _COUNT_WORDS else None


def integer(text: str) -> Read | None:
    """Any whole number that is not part of a date."""
    match = _BARE.search(_without_dates(text))
    return (int(match[1]), match[0]) if match else None


def _without_dates(text: str) -> str:
    return re.sub(r"\d{1,4}[/.-]\d{1,2}[/.-]\d{1,4}", " ", text)


def day(text: str) -> Read | None:
    """The first date, as ISO text."""
    found: list[date] = find_dates(text)
    if not found:
        return None
    return found[0].isoformat(), _words_of_date(text.split(), found[0]) or text


def _words_of_date(words: list[str], wanted: date) -> str:
    """The words that are the date, so that one can tell what stands before them; empty where none are alone."""
    for start in range(len(words)):
        if find_dates(" ".join(words[start : start + 5]))[:1] == [wanted]:
            part = words[start : start + 5]
            while len(part) > 1 and find_dates(" ".join(part[1:]))[:1] == [wanted]:
                part = part[1:]
            while len(part) > 1 and find_dates(" ".join(part[:-1]))[:1] == [wanted]:
                part = part[:-1]
            return " ".join(part)
    return ""


def identity(text: str) -> Read | None:
    """An identity number: letters and digits, in whichever order the page has them; letters first in the value."""
    match = _LETTERS_DIGITS.search(text)
    if match is None:
        return None
    letters, digits = (match[1], match[2]) if match[1] else (match[4], match[3])
    return letters.upper() + digits, match[0]


def account(text: str) -> Read | None:
    """A bank account: 16 to 28 digits, however they are grouped, without blanks."""
    for match in _ACCOUNT.finditer(text):
        compact = re.sub(r"[ .-]", "", match[0])
        if 16 <= sum(char.isdigit() for char in compact) <= 28:
            return compact.upper(), match[0]
    return None
