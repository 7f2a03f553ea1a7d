"""Oddities of JSON end in `NotStrict`, whatever they are."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.strict_json import NotStrict, loads
from tests.support.strategies import json_of

LIMIT = 100_000
WHYS = {"too_long", "not_utf8", "too_deep", "duplicate_key", "not_a_number", "bad_text", "not_json"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"a": {"b": 1, "b": 1}}', "duplicate_key"),
        (b"NaN", "not_a_number"),
        (b'{"a": -Infinity}', "not_a_number"),
        (b"1e999", "not_a_number"),
        (b"123456789012345678901", "not_a_number"),
        (b"9223372036854775808", "not_a_number"),
        (b"-9007199254740992", "not_a_number"),
        (b"[" * 30 + b"]" * 30, "too_deep"),
        (b"[" * 50_000, "too_deep"),
        (b'{"a":' * 30 + b"1" + b"}" * 30, "too_deep"),
        (b'"\\u0000"', "bad_text"),
        (b'{"\\u0000": 1}', "bad_text"),
        (b'["\\ud800"]', "bad_text"),
        (b'"\xff\xfe"', "not_utf8"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b"{} {}", "not_json"),
        (b"{'a': 1}", "not_json"),
        (b"", "not_json"),
        (b'"a\nb"', "not_json"),
        (b" " * (LIMIT + 1), "too_long"),
    ],
)
def test_what_is_odd_is_named(data: bytes, why: str) -> None:
    with pytest.raises(NotStrict) as raised:
        loads(data, limit=LIMIT)
    assert raised.value.why == why


def test_control_characters_in_strings_are_let_through_on_request_and_nul_never() -> None:
    assert loads('["a\tb\nc"]', limit=LIMIT, controls=True) == ["a\tb\nc"]
    for text in ('["a\tb"]', '["a\0b"]'):
        with pytest.raises(NotStrict):
            loads(text, limit=LIMIT)
    with pytest.raises(NotStrict):
        loads('["a\0b"]', limit=LIMIT, controls=True)


def test_brackets_in_strings_are_not_nesting() -> None:
    assert loads(json.dumps("[" * 100 + '\\"{{'), limit=LIMIT) == "[" * 100 + '\\"{{'


@pytest.mark.parametrize("data", [b'"' + b'\\"' * 1_000_000, b'"a' * 999_999, b"[" * 2_000_000, b'{"a":' * 400_000])
def test_no_bytes_take_long(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(NotStrict):
        loads(data, limit=4_000_000)
    assert time.process_time() - began < 3


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = json_of(numbers | texts, texts)


@given(json_values)
def test_ordinary_json_comes_back_as_it_is(value: object) -> None:
    assert loads(json.dumps(value).encode(), limit=LIMIT) == value


def without_a_byte(value: object, at: int) -> bytes:
    data = json.dumps(value).encode()
    return data[:at] + data[at + 1 :]


damaged = st.builds(without_a_byte, json_values, st.integers(0, 100))


@given(damaged | st.binary(max_size=300) | st.text('{}[]":,\\u0d8001eE+-naNI "').map(str.encode))
def test_any_bytes_are_refused_or_read_as_any_parser_reads_them(data: bytes) -> None:
    refusal = None
    try:
        assert loads(data, limit=LIMIT) == json.loads(data)
    except NotStrict as error:
        refusal = error
    assert refusal is None or refusal.why in WHYS
