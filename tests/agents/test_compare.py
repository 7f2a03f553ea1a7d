"""Two answers compared: the first difference is really the first; and what an outcome is said to show."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.compare import BODY, Comparison, Difference, compare, first_difference
from diwan.domain.rerun import WORDS, Conditions, Known, Meaning, Outcome, Side, meaning_of, mismatch

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
tokens = st.lists(st.integers(0, 5), max_size=12)


def answer(content: str | None = "yes", *, ids: list[int] | None = None, **more: Any) -> bytes:
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    choice |= more.pop("choice", {})
    choice["message"] |= more.pop("message", {})
    if ids is not None:
        choice["token_ids"] = ids
    return json.dumps({"id": "made-up", "created": 1, "choices": [choice], **more}).encode()


def calls(*called: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "tool_calls": [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id_, name, arguments in called
        ]
    }


@given(st.lists(st.integers(0, 3), max_size=10), st.lists(st.integers(0, 3), max_size=10))
def test_the_first_difference_is_the_first(a: list[int], b: list[int]) -> None:
    place = first_difference(a, b)
    if place is None:
        assert a == b
        return
    assert a[:place] == b[:place]
    assert a[place : place + 1] != b[place : place + 1]


@given(texts, texts)
def test_texts_differ_where_it_says_and_nowhere_before(a: str, b: str) -> None:
    found = compare(answer(a), answer(b))
    assert found.identical == (a == b)
    if found.first is not None:
        assert found.first.part == "message.content"
        place = found.first.position
        assert place is not None
        assert a[:place] == b[:place]
        assert found.first.before == a[:place][-40:]
        assert (found.first.then, found.first.now) == (a[place:][:40], b[place:][:40])
        assert found.first.then[:1] != found.first.now[:1]


@given(tokens, tokens, texts, texts)
def test_tokens_come_first_and_words_beside_them(a: list[int], b: list[int], then: str, now: str) -> None:
    found = compare(answer(then, ids=a, prompt_token_ids=[1]), answer(now, ids=b, prompt_token_ids=[1]))
    assert found.tokens
    if a != b:
        assert found.first is not None
        assert (found.first.part, found.first.position) == ("token_ids", first_difference(a, b))
        assert (found.said is None) == (then == now)
    else:
        assert found.said is None
        assert found.identical == (then == now)


@given(st.binary(max_size=40) | texts.map(answer), st.binary(max_size=40) | texts.map(answer))
def test_whatever_comes_is_compared_and_like_is_like(a: bytes, b: bytes) -> None:
    assert compare(a, a).identical
    forth, back = compare(a, b), compare(b, a)
    assert forth.identical == back.identical
    if forth.first and back.first:
        assert (forth.first.part, forth.first.position) == (back.first.part, back.first.position)
        assert (forth.first.then, forth.first.now) == (back.first.now, back.first.then)


def test_a_prompt_read_as_other_tokens_is_the_first_difference() -> None:
    """The tokenizer is another, whatever is said of it."""
    then, now = (answer("a", ids=[1], prompt_token_ids=prompt) for prompt in ([5, 6, 7], [5, 9, 7]))
    found = compare(then, now)
    assert found.first == Difference(part="prompt_token_ids", position=1, before="5", then="6 7", now="9 7")
    assert found.said is None


def test_tokens_that_one_side_lacks_are_not_compared_and_that_is_said() -> None:
    found = compare(answer("a", ids=[1], prompt_token_ids=[1]), answer("a"))
    assert (found.identical, found.tokens) == (True, False)
    assert not compare(answer("a", ids=[1]), answer("a", ids=[1])).tokens  # the prompt's are missing


def test_what_an_engine_makes_up_anew_is_no_difference() -> None:
    then = answer(None, message=calls(("call-1", "read_page", '{"page": 1}')))
    now = answer("", message=calls(("call-9", "read_page", '{"page": 1}')), id="another", created=2)
    assert compare(then, now).identical
    assert compare(answer(message={"tool_calls": None}), answer(message={"tool_calls": []})).identical


@pytest.mark.parametrize(
    ("changed", "part", "position"),
    [
        (calls(("1", "read_page", '{"page": 2}')), "message.tool_calls[0].function.arguments", 9),
        (calls(("1", "finish", '{"page": 1}')), "message.tool_calls[0].function.name", 0),
        (calls(("1", "read_page", '{"page": 1}'), ("2", "x", "")), "message.tool_calls[1].type", 0),
        ({**calls(("1", "read_page", '{"page": 1}')), "reasoning": "because"}, "message.reasoning", 0),
    ],
)
def test_tool_calls_and_reasoning_are_compared_by_path(changed: dict[str, Any], part: str, position: int) -> None:
    found = compare(answer(None, message=calls(("1", "read_page", '{"page": 1}'))), answer(None, message=changed))
    assert found.first is not None
    assert (found.first.part, found.first.position) == (part, position)


def test_how_an_answer_ended_comes_last_and_counts() -> None:
    cut = answer("yes", choice={"finish_reason": "length"})
    assert compare(answer("yes"), cut).first == Difference(
        part="finish_reason", position=None, before="", then="stop", now="length"
    )
    both = compare(answer("yes"), answer("no", choice={"finish_reason": "length"})).first
    assert both is not None
    assert both.part == "message.content"


@pytest.mark.parametrize("broken", [b"", b"<html>", b"[]", b'{"choices": []}', b'{"choices": [1, 2]}', b"\xff"])
def test_an_answer_that_cannot_be_read_differs_from_one_that_can(broken: bytes) -> None:
    found = compare(answer("yes"), broken)
    assert found.first is not None
    assert found.first.part == BODY
    assert compare(broken, broken).identical


def test_a_number_is_no_word_and_no_truth() -> None:
    values: list[Any] = [1, True, "1", 1.0]
    for a in values:
        for b in values:
            same = compare(answer(message={"odd": a}), answer(message={"odd": b})).identical
            assert same == (a is b)


# --- what it is said to show ------------------------------------------------------------------------------------------

SIDE = Side(
    model="m",
    weights_digest="a" * 64,
    tokenizer_digest="b" * 64,
    engine_version="0.32.0",
    fingerprint="vllm-0.32.0-1f2e3d4c",
    batch_invariant=Known.YES,
)
WHOLE = Conditions(then=SIDE, now=SIDE, temperature="0", seed=1)


def changed(side: str, **values: object) -> Conditions:
    return WHOLE.model_copy(update={side: SIDE.model_copy(update=values)})


def test_a_difference_is_a_finding_only_where_nothing_else_explains_it() -> None:
    assert meaning_of(Outcome.DIFFERS, WHOLE) is Meaning.FINDING


@pytest.mark.parametrize("side", ["then", "now"])
@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ({"batch_invariant": Known.NO}, Meaning.PROVES_NOTHING),
        ({"batch_invariant": Known.UNKNOWN}, Meaning.PROVES_NOTHING),
        ({"tokenizer_digest": ""}, Meaning.NOT_COMPARABLE),
        ({"fingerprint": "vllm-0.32.0-tp2-1f2e3d4c"}, Meaning.NOT_COMPARABLE),
        ({"fingerprint": ""}, Meaning.NOT_COMPARABLE),
    ],
)
def test_what_is_unknown_or_other_takes_the_proof_away(side: str, value: dict[str, Any], meaning: Meaning) -> None:
    conditions = changed(side, **value)
    assert meaning_of(Outcome.DIFFERS, conditions) is meaning
    assert "proves nothing" in WORDS[meaning]
    assert meaning_of(Outcome.IDENTICAL, conditions) is Meaning.IDENTICAL


@pytest.mark.parametrize(("temperature", "seed", "drawn"), [("0.7", None, True), ("", None, True), ("0.7", 1, False)])
def test_what_was_drawn_without_a_seed_on_record_proves_nothing(
    temperature: str, seed: int | None, drawn: bool
) -> None:
    conditions = WHOLE.model_copy(update={"temperature": temperature, "seed": seed})
    assert meaning_of(Outcome.DIFFERS, conditions) is (Meaning.DRAWN if drawn else Meaning.FINDING)


def test_every_meaning_has_its_words_and_none_promises() -> None:
    assert set(WORDS) == set(Meaning)
    assert meaning_of(Outcome.NOT_RUN, None) is Meaning.NOT_RUN
    assert meaning_of(Outcome.ASKED, None) is Meaning.ASKED


@pytest.mark.parametrize(
    ("value", "other"),
    [
        ({}, ""),
        ({"model": "other"}, "model"),
        ({"weights_digest": "c" * 64}, "weights"),
        ({"weights_digest": ""}, "weights"),
        ({"tokenizer_digest": "c" * 64}, "tokenizer"),
        ({"tokenizer_digest": ""}, "tokenizer"),
        ({"engine_version": "0.33.0"}, "engine_version"),
        ({"engine_version": ""}, "engine_version"),
        ({"fingerprint": "vllm-0.32.0-tp2-1f2e3d4c", "batch_invariant": Known.NO, "host": "h"}, ""),
    ],
)
def test_a_host_fits_where_it_is_all_that_was_recorded(value: dict[str, Any], other: str) -> None:
    assert mismatch(SIDE, SIDE.model_copy(update=value)) == other


def test_what_was_not_recorded_is_not_demanded_but_an_engines_own_words_are_read() -> None:
    old = SIDE.model_copy(update={"tokenizer_digest": "", "engine_version": ""})
    assert mismatch(old, SIDE) == ""
    assert mismatch(old, SIDE.model_copy(update={"engine_version": "0.32"})) == "engine_version"
    assert mismatch(old.model_copy(update={"fingerprint": "gateway"}), SIDE) == ""
    assert mismatch(old.model_copy(update={"weights_digest": ""}), SIDE) == "weights"


def test_a_comparison_survives_being_stored() -> None:
    found = compare(answer("yes"), answer("no"))
    assert Comparison.model_validate_json(found.model_dump_json()) == found
    assert Conditions.model_validate_json(WHOLE.model_dump_json()) == WHOLE
