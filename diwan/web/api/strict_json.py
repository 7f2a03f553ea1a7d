"""JSON as it is taken from outside: UTF-8, no duplicate keys, bounded depth, numbers and texts (RFC 7493, I-JSON).

A scan over the bytes bounds depth and size before anything is built; Python's own parser runs after it. No
message repeats what was sent: a pointer names the place, with `*` for names that are not ours.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn, cast

from pydantic import JsonValue

from diwan.domain.errors import InvalidInput
from diwan.web.limits import Limits

# Strings are matched whole, in C and without backtracking, so that brackets inside them do not count.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{},"]', re.DOTALL)
_SAFE_INTEGER = 2**53 - 1
# Control characters other than tab and line ends, surrogates and noncharacters: no store or letter can carry them.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_KEY_LENGTH = 200


class MalformedJson(InvalidInput):
    """The bytes are not JSON as it is taken here; nothing in them was looked at further."""

    status = 400


def unprintable(text: str) -> bool:
    """Whether a text holds characters that are never taken: controls, surrogates, noncharacters."""
    return _UNPRINTABLE.search(text) is not None


def parse(body: bytes, limits: Limits, *, known: frozenset[str] = frozenset()) -> JsonValue:
    """The value that `body` holds. `known` are names that an error may repeat in its pointer.

    Raises `MalformedJson` (400) when it is not strict JSON, `InvalidInput` (422) when it is but holds a number,
    text or depth that is not taken.
    """
    _scan(body, limits)
    value = _decode(body)
    _check(value, limits, known)
    return value


def parse_object(body: bytes, limits: Limits, *, known: frozenset[str] = frozenset()) -> dict[str, JsonValue]:
    """As `parse`; raises `InvalidInput` when the value is not an object."""
    value = parse(body, limits, known=known)
    if not isinstance(value, dict):
        raise InvalidInput("json.not_an_object", "The body is JSON, but not an object.", "Send a JSON object: {…}.")
    return value


def split_array(body: bytes, limits: Limits) -> list[bytes]:
    """The elements of a top-level array, as bytes and unparsed, so that a bad one does not spoil the others.

    Raises `MalformedJson` when the brackets do not form one array.
    """
    start, depth, items = 0, 0, list[bytes]()
    text = body.strip(b" \t\r\n")
    if not (text.startswith(b"[") and text.endswith(b"]")):
        raise MalformedJson("json.not_an_array", "A batch is one JSON array.", "Send [event, event, …].")
    for kind, at in _structure(text, limits):
        depth += 1 if kind in b"[{" else -1 if kind in b"]}" else 0
        if depth == 1 and kind == b"[" and at == 0:
            start = 1
        elif (depth == 1 and kind == b",") or (depth == 0 and kind == b"]"):
            items.append(text[start:at].strip(b" \t\r\n"))
            start = at + 1
        if depth == 0 and at != len(text) - 1:
            raise MalformedJson("json.unbalanced", "The brackets of the array do not match.", _LINT)
    if depth != 0:
        raise MalformedJson("json.unbalanced", "The brackets of the array do not match.", _LINT)
    if items == [b""]:
        return []
    return items


_LINT = "Check the text with a JSON validator and send it again."


def _structure(body: bytes, limits: Limits) -> Iterator[tuple[bytes, int]]:
    """Brackets and commas outside strings, with their offsets; bounded in number."""
    for count, match in enumerate(_TOKEN.finditer(body)):
        if count > limits.json_tokens:
            raise InvalidInput(
                "json.too_many_values",
                f"The body has more than {limits.json_tokens} values and brackets.",
                "Split it into several requests.",
            )
        token = match.group()
        if token == b'"':
            raise MalformedJson("json.unterminated_text", "A text in the body has no closing quote.", _LINT)
        if token[:1] != b'"':
            yield token, match.start()


def _scan(body: bytes, limits: Limits) -> None:
    depth = 0
    for kind, _ in _structure(body, limits):
        if kind in b"[{":
            depth += 1
            if depth > limits.json_depth:
                raise InvalidInput(
                    "json.too_deep",
                    f"The body is nested more than {limits.json_depth} levels deep.",
                    "Flatten it: no form of ours is that deep.",
                )
        elif kind in b"]}":
            depth -= 1


def _decode(body: bytes) -> JsonValue:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedJson("json.not_utf8", "The body is not valid UTF-8.", "Encode the text as UTF-8.") from None
    try:
        return cast(
            JsonValue,
            json.loads(
                text,
                object_pairs_hook=_object,
                parse_int=_integer,
                parse_float=_float,
                parse_constant=_constant,
            ),
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedJson("json.malformed", f"The body is not valid JSON at {where}.", _LINT) from None


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedJson(
            "json.duplicate_key", "An object in the body has the same name twice.", "Keep each name once per object."
        )
    return found


def _integer(text: str) -> int:
    if len(text) > 17 or abs(number := int(text)) > _SAFE_INTEGER:
        _number()
    return number


def _float(text: str) -> float:
    if len(text) > 40 or not math.isfinite(number := float(text)):
        _number()
    return number


def _number() -> NoReturn:
    raise InvalidInput(
        "json.number_out_of_range",
        "A number in the body is larger or longer than can be kept exactly (2^53 - 1).",
        "Send identifiers and account numbers as text.",
    )


def _constant(_: str) -> NoReturn:
    raise MalformedJson("json.not_a_number", "NaN and Infinity are not JSON.", "Leave the field out, or send a number.")


def _check(value: JsonValue, limits: Limits, known: frozenset[str]) -> None:
    todo: list[tuple[tuple[str | int, ...], JsonValue]] = [((), value)]
    while todo:
        path, item = todo.pop()
        if isinstance(item, str):
            _check_text(path, item, limits.string_length, known)
        elif isinstance(item, dict):
            for name, child in item.items():
                _check_text((*path, name), name, _KEY_LENGTH, known)
                todo.append(((*path, name), child))
        elif isinstance(item, list):
            todo.extend(((*path, index), child) for index, child in enumerate(item))


def _check_text(path: Sequence[str | int], text: str, length: int, known: frozenset[str]) -> None:
    if len(text) > length:
        raise InvalidInput(
            "json.text_too_long",
            f"The text at {_place(path, known)} has more than {length} characters.",
            "Shorten it, or send long content as a document.",
        )
    if unprintable(text):
        raise InvalidInput(
            "json.unprintable",
            f"The text at {_place(path, known)} holds a NUL, another control character or half a character.",
            "Remove such characters before sending.",
        )


def pointer(path: Sequence[str | int], known: frozenset[str] = frozenset()) -> str:
    """A JSON pointer (RFC 6901) that repeats only positions and names that are ours; others are `*`."""
    return "".join(f"/{step}" if isinstance(step, int) or step in known else "/*" for step in path)


def _place(path: Sequence[str | int], known: frozenset[str] = frozenset()) -> str:
    return pointer(path, known) or "the top"
