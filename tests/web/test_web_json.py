"""JSON from outside: what is taken equals what Python's parser gives; what is refused says why, without an echo."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.errors import InvalidInput
from diwan.web.api.strict_json import parse, pointer, split_array
from diwan.web.limits import Limits
from tests.support.strategies import json_of

LIMITS = Limits()
SECRET = "Zoubida-4711"

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=40)
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False, width=32)
values = json_of(numbers | texts, texts, wide=5, leaves=20)


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_what_is_acceptable_is_read_as_written(value: object, ascii_only: bool, indent: int | None):
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert parse(body, LIMITS) == json.loads(body)


@given(st.binary(max_size=200) | st.text('[]{}",:\\u0n1e-.tfNa \n', max_size=60).map(str.encode))
def test_nothing_but_our_own_error_comes_out_of_any_bytes(body: bytes):
    refusal = None
    try:
        parse(body, LIMITS)
        split_array(body, LIMITS)
    except InvalidInput as error:
        refusal = error
    assert refusal is None or refusal.remedy


@given(st.lists(values, max_size=6), st.sampled_from([None, 2]))
def test_a_batch_is_split_where_a_parser_would_split_it(items: list[object], indent: int | None):
    parts = split_array(json.dumps(items, indent=indent).encode(), LIMITS)
    assert [json.loads(part) for part in parts] == items


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b"", "json.malformed", 400),
        (b"{", "json.malformed", 400),
        (b'{"a": 1,}', "json.malformed", 400),
        (b'\xef\xbb\xbf{"a": 1}', "json.malformed", 400),
        (f'{{"a": "{SECRET}'.encode(), "json.unterminated_text", 400),
        (f'{{"{SECRET}": 1, "{SECRET}": 2}}'.encode(), "json.duplicate_key", 400),
        (f'{{"\\u005a{SECRET[1:]}": 1, "{SECRET}": 2}}'.encode(), "json.duplicate_key", 400),
        (b'{"a": NaN}', "json.not_a_number", 400),
        (b'{"a": -Infinity}', "json.not_a_number", 400),
        (b'{"a": "\xff\xfe"}', "json.not_utf8", 400),
        ('{"a": 1}'.encode("utf-16"), "json.not_utf8", 400),
        (b"[" * 100_000, "json.too_deep", 422),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "json.too_deep", 422),
        (b"[" + b"1," * 250_000 + b"1]", "json.too_many_values", 422),
        (b'{"a": 9007199254740992}', "json.number_out_of_range", 422),
        (b'{"a": ' + b"9" * 100_000 + b"}", "json.number_out_of_range", 422),
        (b'{"a": 1e400}', "json.number_out_of_range", 422),
        (b'{"a": 0.' + b"1" * 1000 + b"}", "json.number_out_of_range", 422),
        (f'{{"a": "{SECRET}\\u0000"}}'.encode(), "json.unprintable", 422),
        (f'{{"{SECRET}\\u0000": 1}}'.encode(), "json.unprintable", 422),
        (b'{"a": "\\u001b[2J"}', "json.unprintable", 422),
        (b'{"a": "\\ud800"}', "json.unprintable", 422),
        (b'{"a": "' + b"x" * 70_000 + b'"}', "json.text_too_long", 422),
        (b'{"' + b"x" * 300 + b'": 1}', "json.text_too_long", 422),
    ],
)
def test_hostile_json_is_refused_by_name(body: bytes, code: str, status: int):
    with pytest.raises(InvalidInput) as caught:
        parse(body, LIMITS)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert caught.value.remedy
    assert SECRET not in str(caught.value)


def test_deep_json_inside_a_text_is_only_a_text():
    assert parse(b'{"a": "' + b"[" * 1000 + b'"}', LIMITS) == {"a": "[" * 1000}


def test_line_ends_and_tabs_in_texts_are_taken():
    assert parse(b'{"a": "one\\r\\n\\ttwo"}', LIMITS) == {"a": "one\r\n\ttwo"}


@pytest.mark.parametrize("body", [b"", b"{}", b"[1", b"1]", b"[1],[2]", b"[[]", b"[]]", b"[}", b'["]'])
def test_what_is_not_one_array_is_not_split(body: bytes):
    with pytest.raises(InvalidInput):
        split_array(body, LIMITS)


def test_a_deep_or_broken_item_of_a_batch_leaves_the_others_whole():
    deep = b"[" * 5000 + b"]" * 5000
    assert split_array(b'[{"a":1},' + deep + b',{nonsense},{"b":2}]', LIMITS) == [
        b'{"a":1}',
        deep,
        b"{nonsense}",
        b'{"b":2}',
    ]


def test_a_pointer_repeats_only_names_that_are_ours():
    assert pointer(("data", "answers", SECRET, 3), frozenset({"data", "answers"})) == "/data/answers/*/3"
