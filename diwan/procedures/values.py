"""Values of facts: read from whatever a form, an agent or a clerk gives, compared, and shown in letters."""

from __future__ import annotations

from datetime import date, datetime

from babel.dates import format_date
from babel.numbers import format_decimal
from pydantic import JsonValue

from diwan.domain.errors import InvalidInput
from diwan.domain.facts import FactValue
from diwan.domain.fold import fold, parse_amount, parse_date
from diwan.domain.text import Language
from diwan.procedures.parts import FieldType, ValueType

# What a form field's answer is once it is a fact.
FIELD_VALUES = {
    FieldType.TEXT: ValueType.TEXT,
    FieldType.CHOICE: ValueType.TEXT,
    FieldType.INTEGER: ValueType.INTEGER,
    FieldType.BOOLEAN: ValueType.BOOLEAN,
    FieldType.DATE: ValueType.DATE,
}
_WHAT_TO_GIVE = {
    ValueType.TEXT: "Give a text.",
    ValueType.INTEGER: "Give a whole number, e.g. 290000.",
    ValueType.BOOLEAN: "Give true or false.",
    ValueType.DATE: "Give a day, e.g. 2023-05-14.",
}
_MAX_TEXT = 4000
_MAX_INTEGER = 10**15  # CEL counts in 64 bits; no fact comes near
_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "oui", "vrai", fold("نعم")), True),
    **dict.fromkeys(("false", "no", "non", "faux", fold("لا")), False),
}
_LOCALES = {Language.AR: "ar_MA", Language.FR: "fr_MA", Language.EN: "en_GB"}
_YES_NO = {
    Language.AR: ("نعم", "لا"),
    Language.FR: ("oui", "non"),
    Language.EN: ("yes", "no"),
}


def read_value(type_: ValueType, raw: JsonValue | date) -> FactValue:
    """`raw` as a value of `type_`; text in any of the three languages is understood where it has one meaning.

    `"350 000 DH"`, `"٣٥٠٠٠٠"` and 350000.0 are the integer 350000, `"14 نونبر 2022"` is a day, `"oui"` is true.
    Raises `InvalidInput` (`fact.value`), which never repeats the value.
    """
    value: FactValue | None = None
    if type_ is ValueType.TEXT:
        value = " ".join(raw.split())[:_MAX_TEXT] if isinstance(raw, str) else None
        value = value or None
    elif type_ is ValueType.BOOLEAN:
        value = raw if isinstance(raw, bool) else _BOOLEANS.get(fold(raw)) if isinstance(raw, str) else None
    elif type_ is ValueType.INTEGER:
        value = _integer(raw)
    else:
        value = _day(raw)
    if value is None:
        raise InvalidInput("fact.value", f"This is not a value of type {type_.value}.", _WHAT_TO_GIVE[type_])
    return value


def _day(raw: JsonValue | date) -> date | None:
    if isinstance(raw, datetime):  # a date to Python, but not a day
        return None
    return raw if isinstance(raw, date) else parse_date(raw) if isinstance(raw, str) else None


def _integer(raw: JsonValue | date) -> int | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    if isinstance(raw, str):
        amount = parse_amount(raw) if len(raw) <= 40 else None
        raw = int(amount) if amount is not None and amount == amount.to_integral_value() else -1.5
    return int(raw) if abs(raw) < _MAX_INTEGER and raw == int(raw) else None


def same_value(one: FactValue, other: FactValue) -> bool:
    """Equal to a reader: texts are compared folded and without spaces and dashes (`AB 1234` and `ab-1234`)."""
    if isinstance(one, str) and isinstance(other, str):
        return _key(one) == _key(other)
    return type(one) is type(other) and one == other


def _key(text: str) -> str:
    return "".join(char for char in fold(text) if char.isalnum())


def show_value(value: FactValue, language: Language) -> str:
    """As letters write it: Western digits everywhere, months by the names Morocco uses."""
    if isinstance(value, bool):
        return _YES_NO[language][0 if value else 1]
    if isinstance(value, date):
        return format_date(value, "long", locale=_LOCALES[language])
    if isinstance(value, int):
        return format_decimal(value, locale=_LOCALES[language])
    return value
