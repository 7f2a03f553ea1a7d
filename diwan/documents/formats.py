"""Dates, amounts, numbers and plural forms as each language writes them in administrative letters."""

from __future__ import annotations

from datetime import date
from functools import cache

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_decimal

from diwan.documents.content import Digits
from diwan.domain.facts import FactValue
from diwan.domain.text import Language

# Morocco's Arabic has its own month names (غشت, نونبر) and writes 100.000; British English puts the day first.
_LOCALES = {Language.AR: "ar_MA", Language.FR: "fr_MA", Language.EN: "en_GB"}
_ARABIC_INDIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
_YES_NO = {Language.AR: ("نعم", "لا"), Language.FR: ("oui", "non"), Language.EN: ("yes", "no")}
_CURRENCIES: dict[str, dict[Language, dict[str, str]]] = {
    "MAD": {
        Language.AR: {"few": "دراهم", "many": "درهما", "other": "درهم"},
        Language.FR: {"one": "dirham", "other": "dirhams"},
        Language.EN: {"one": "dirham", "other": "dirhams"},
    }
}


@cache
def locale_of(language: Language) -> Locale:
    return Locale.parse(_LOCALES[language])


def plural_category(language: Language, count: int) -> str:
    """CLDR's plural category of `count`: Arabic has six, French three."""
    return str(locale_of(language).plural_form(count))


class Formats:
    """Formats of one letter."""

    def __init__(self, language: Language, digits: Digits = Digits.WESTERN) -> None:
        self.language = language
        self._digits = digits

    def _written(self, text: str) -> str:
        return text.translate(_ARABIC_INDIC) if self._digits is Digits.ARABIC_INDIC else text

    def date(self, day: date) -> str:
        """14 novembre 2022, 14 نونبر 2022, 14 November 2022; the first of a month is `1er` in French."""
        written = format_date(day, "d MMMM y", locale=locale_of(self.language))
        if self.language is Language.FR and day.day == 1:
            written = "1er" + written.removeprefix("1")
        return self._written(written)

    def number(self, value: int) -> str:
        return self._written(format_decimal(value, locale=locale_of(self.language)))

    def amount(self, value: int, currency: str) -> str:
        """`value` in whole units, with the currency's name where we know it, else its ISO 4217 code."""
        names = _CURRENCIES.get(currency, {}).get(self.language, {})
        name = names.get(plural_category(self.language, value), names.get("other", currency))
        return f"{self.number(value)}\u00a0{name}"

    def value(self, value: FactValue, currency: str = "") -> str:
        """A fact's value as a reader expects it; an integer with a `currency` is an amount."""
        if isinstance(value, bool):
            return _YES_NO[self.language][0 if value else 1]
        if isinstance(value, date):
            return self.date(value)
        if isinstance(value, int):
            return self.amount(value, currency) if currency else self.number(value)
        return value
