"""Folding of text for search and comparison, and reading of dates and amounts in Arabic, French and English.

Owns one notion of "the same text": two strings that a reader would call equal fold to equal strings. Pure.
What is folded is compared and searched, never shown.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from decimal import Decimal

# Letters that people and keyboards swap freely, beyond what Unicode decomposition already joins (أ إ آ ؤ ئ).
_LETTERS = str.maketrans(
    {
        "ٱ": "ا", "ى": "ي", "ی": "ي", "ے": "ي", "ة": "ه", "ە": "ه", "ک": "ك", "گ": "ك", "ڭ": "ك", "ڨ": "ق", "ـ": "",
        "œ": "oe", "æ": "ae", "ı": "i", "ø": "o", "ł": "l", "đ": "d",
        "’": "'", "‘": "'", "ʼ": "'", "´": "'", "`": "'", "“": '"', "”": '"', "«": '"', "»": '"', "„": '"',
        "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "−": "-",
        "،": ",", "؛": ";", "؟": "?", "٪": "%", "٫": ",", "٬": "'", "۔": ".",
    }
)  # fmt: skip

# Groups of three digits after one to three, always the same separator: 700 000, 700.000, 700,000, 700'000.
_GROUPED = re.compile(r"(?<!\d)\d{1,3}([ .,'])\d{3}(?:\1\d{3})*(?!\d)")


def _clean(text: str) -> str:
    """Compatibility forms undone, marks dropped, digits ASCII, format characters dropped, controls as spaces."""
    out: list[str] = []
    for char in unicodedata.normalize("NFKD", text):
        if char.isascii():
            out.append(char if char.isprintable() else " ")
            continue
        category = unicodedata.category(char)
        if category == "Nd":
            out.append(str(unicodedata.decimal(char)))
        elif category[0] == "Z" or category == "Cc":
            out.append(" ")
        elif category not in ("Mn", "Me", "Cf", "Co", "Cs", "Cn"):
            out.append(char)
    return "".join(out)


def _fold_once(text: str) -> str:
    text = _clean(text).translate(_LETTERS).casefold().translate(_LETTERS)
    text = " ".join(text.split())
    return _GROUPED.sub(lambda match: match[0].replace(match[1], ""), text)


def fold(text: str) -> str:
    """The form under which texts are compared and searched; `fold(fold(x)) == fold(x)`.

    Digits of any script become 0-9; Arabic presentation forms, letter variants (أإآٱ, ى/ي, ة/ه), tatweel and
    diacritics, Latin accents and case, quotes and dashes, bidi and other invisible characters, runs of white space
    and separators of thousands no longer make a difference.
    """
    folded = _fold_once(text)
    while (again := _fold_once(folded)) != folded:  # casefolding can bring back what decomposition splits
        folded = again
    return folded


# --- amounts -------------------------------------------------------------------------------------------------------
# Patterns below run on folded text: thousands are already joined, digits ASCII, letters unaccented.

_CURRENCY = r"(?:dirhams?|dhs?|mad|euros?|eur|€|درهما?|دراهم|د\.م)"
_NUMBER = r"(?:0|[1-9]\d*)(?:[.,]\d{1,2})?"
_AMOUNT = re.compile(rf"(?:{_CURRENCY}\.? ?)?({_NUMBER})(?: ?{_CURRENCY}\.?(?: (?:marocains?|moroccan|مغربيا?))?)?")


def _decimal(number: str) -> Decimal:
    return Decimal(number.replace(",", "."))


def parse_amount(text: str) -> Decimal | None:
    """The amount that `text` is, with or without a currency; None where it is anything else or ambiguous.

    `700 000`, `700.000,00 DH`, `1,250.50 MAD` and `٧٠٠٬٠٠٠ درهم` are amounts. One separator before three digits
    separates thousands. Words for numbers, signs and shares are not guessed at.
    """
    match = _AMOUNT.fullmatch(fold(text))
    return _decimal(match[1]) if match else None


# --- dates ---------------------------------------------------------------------------------------------------------

# January first. Arabic: Morocco, the Maghreb, Egypt and the Gulf, the Levant.
_MONTH_NAMES = (
    "janvier janv jan january يناير جانفي كانون_الثاني",
    "fevrier fevr fev february feb فبراير فيفري شباط",
    "mars march mar مارس آذار",
    "avril avr april apr أبريل إبريل أفريل نيسان",
    "mai may ماي مايو أيار",
    "juin june jun يونيو يونيه جوان حزيران",
    "juillet juil july jul يوليوز يوليو يوليه جويلية تموز",
    "aout august aug غشت أغسطس أوت آب",
    "septembre september sept sep شتنبر سبتمبر أيلول",
    "octobre october oct أكتوبر تشرين_الأول",
    "novembre november nov نونبر نوفمبر تشرين_الثاني",
    "decembre december dec دجنبر ديسمبر كانون_الأول",
)
_MONTHS = {fold(name.replace("_", " ")): n for n, line in enumerate(_MONTH_NAMES, 1) for name in line.split()}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATE_IN_TEXT = re.compile(
    r"(?<![\w./-])(?:"
    r"(?P<y1>\d{4})(?P<s1>[/.-])(?P<m1>\d{1,2})(?P=s1)(?P<d1>\d{1,2})"
    r"|(?P<d2>\d{1,2})(?P<s2>[/.-])(?P<m2>\d{1,2})(?P=s2)(?P<y2>\d{4})"
    rf"|(?P<d3>\d{{1,2}})(?:er|st|nd|rd|th)? ?(?:of )?(?P<n3>{_MONTH})\.?,? ?(?P<y3>\d{{4}})"
    rf"|(?P<n4>{_MONTH})\.? (?P<d4>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y4>\d{{4}})"
    r")(?![\w/-]|\.\d| ?هـ?(?!\w))"
)
_BEFORE_A_DATE = re.compile(r"(?:le|du|on|the|يوم|في|بتاريخ|[^\W\d_]{3,9})(?: [^\W\d_]{2,9})?,? ")


def _to_date(match: re.Match[str]) -> date | None:
    found = match.groupdict()
    for n in "1234":
        if found.get(f"y{n}"):
            year, day = int(found[f"y{n}"]), int(found[f"d{n}"])
            month = _MONTHS[found[f"n{n}"]] if found.get(f"n{n}") else int(found[f"m{n}"])
            try:
                return date(year, month, day) if 1900 <= year <= 2100 else None
            except ValueError:
                return None
    return None


def parse_date(text: str) -> date | None:
    """The Gregorian day that `text` is; None where it is anything else.

    Day first or ISO, digits of any script, month names in French, English and the Arabic of the Maghreb, Egypt and
    the Levant; a weekday may stand before. Years are 1900 to 2100: a Hijri year or one of two digits is not guessed.
    """
    folded = fold(text).rstrip(" .")
    folded = re.sub(r" ?م$", "", folded)  # ميلادية: the common era
    for candidate in (folded, _BEFORE_A_DATE.sub("", folded, count=1)):
        if match := _DATE_IN_TEXT.fullmatch(candidate):
            return _to_date(match)
    return None


def find_dates(text: str) -> list[date]:
    """Days named in `text`, in order of appearance; the same forms as `parse_date`."""
    return [day for match in _DATE_IN_TEXT.finditer(fold(text)) if (day := _to_date(match)) is not None]
