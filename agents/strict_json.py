"""JSON from a machine that may write anything: every oddity becomes `NotStrict`, never another exception.

Refused besides bad syntax: more bytes than the limit, invalid UTF-8, a byte-order mark, deeper nesting than the
limit, duplicate keys, NaN and infinities, whole numbers beyond 53 bits, NUL characters and lone surrogates.
"""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn, cast

from pydantic import JsonValue

MAX_DEPTH = 24
_LARGEST = 2**53 - 1  # what canonical JSON says exactly, and so the most that the ledger can hold
# Strings are skipped whole, so brackets inside them do not count; one that never ends too, or it would be tried again
# from each of its quotes.
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


# NUL and lone surrogates: a decoded pair is one character beyond them.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class NotStrict(ValueError):
    """`why` is a machine name: too_long, not_utf8, too_deep, duplicate_key, not_a_number, bad_text, not_json."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


def loads(data: bytes | str, *, limit: int, controls: bool = False) -> JsonValue:
    """The value that `data` is; `limit` counts bytes (or characters, of a str). Raises `NotStrict`.

    `controls`: strings may hold control characters (never NUL) as they are. JSON has them escaped, but the grammar
    under which xgrammar lets a model write does not, and a quote may well hold a tab.
    """
    if len(data) > limit:
        raise NotStrict("too_long")
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8")
        except UnicodeDecodeError:
            raise NotStrict("not_utf8") from None
    _check_depth(data)
    try:
        value = json.loads(
            data,
            strict=not controls,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except NotStrict:
        raise
    except (ValueError, RecursionError):
        raise NotStrict("not_json") from None
    # What cannot be stored stands in the text as it is, or is written as an escape.
    if "\\u" in data or _UNSTORABLE.search(data):
        _check_texts(value)
    return cast("JsonValue", value)


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRUCTURE.finditer(text):
        mark = match[0]
        if mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise NotStrict("too_deep")
        elif mark in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotStrict("duplicate_key")
    return result


def _constant(_: str) -> NoReturn:
    raise NotStrict("not_a_number")


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > _LARGEST:
        raise NotStrict("not_a_number")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise NotStrict("not_a_number")
    return value


def _check_texts(value: object) -> None:
    match value:
        case str():
            # Neither can be stored by Postgres or sent on as UTF-8.
            if _UNSTORABLE.search(value):
                raise NotStrict("bad_text")
        case list():
            for item in cast("list[object]", value):
                _check_texts(item)
        case dict():
            for key, item in cast("dict[str, object]", value).items():
                _check_texts(key)
                _check_texts(item)
        case _:
            pass
