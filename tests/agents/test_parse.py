"""Every way an engine answers is named; none raises."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.examiner import EXAMINER, Examination
from agents.loop import TurnKind
from agents.parse import BODY_LIMIT, Parsed, broken, parse_response
from tests.agents.support import EXAMINATION, completion

ANSWER = json.dumps(EXAMINATION, ensure_ascii=False)


def parse(body: bytes, *, final: bool = False) -> Parsed:
    return parse_response(EXAMINER, body, final=final)


def test_tool_calls_are_checked_and_counted() -> None:
    body = completion(
        "Let me read.",
        calls=[("documents_list", ""), ("documents_read_page", '{"document": "d2", "page": 3}')],
    )
    parsed = parse(body)
    assert parsed.turn.kind is TurnKind.TOOLS
    assert [call.request.tool for call in parsed.calls] == ["documents.list", "documents.read_page"]
    assert parsed.calls[1].arguments == {"document": "d2", "page": 3}
    assert (parsed.turn.prompt_tokens, parsed.turn.completion_tokens, parsed.turn.cached_tokens) == (100, 10, 64)
    assert not parsed.turn.useless


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("documents_delete", "{}", "unknown_tool"),
        ("Salma BENNANI", "{}", "unknown_tool"),
        ("documents_read_page", '{"document": "d2"}', "bad_arguments"),
        ("documents_read_page", '{"document": "../etc", "page": 1}', "bad_arguments"),
        ("documents_read_page", '{"document": "d1", "page": "1"}', "bad_arguments"),
        ("documents_read_page", '{"document": "d1", "page": 1, "page": 2}', "bad_arguments"),
        ("documents_read_page", '{"document": "d1", "page": 1, "also": 2}', "bad_arguments"),
        ("documents_read_page", "{", "bad_arguments"),
        ("documents_list", "[]", "bad_arguments"),
        ("registry_earlier_aid", '{"identity_number": "a\\u0000b"}', "bad_arguments"),
    ],
)
def test_a_tool_call_that_cannot_be_carried_out_says_why_and_repeats_nothing(
    name: str, arguments: str, problem: str
) -> None:
    parsed = parse(completion(calls=[(name, arguments)]))
    assert [request.problem for request in parsed.turn.requests] == [problem]
    assert parsed.turn.useless
    assert parsed.calls[0].arguments == {}
    assert "BENNANI" not in parsed.turn.model_dump_json()


def test_more_tool_calls_than_a_turn_may_have_are_left_undone() -> None:
    most = EXAMINER.budgets.tools_per_turn
    parsed = parse(completion(calls=[("documents_list", "{}")] * (most + 3)))
    assert len(parsed.turn.runnable) == most
    assert [request.problem for request in parsed.turn.requests[most:]] == ["too_many"] * 3


@pytest.mark.parametrize(
    "content",
    [
        '<tool_call>{"name": "documents_list", "arguments": {}}</tool_call>',
        '[TOOL_CALLS][{"name": "documents_list"}]',
        "<function=documents_list>{}</function>",
        "<|python_tag|>documents_list.call()",
        '{"name": "documents_read_page", "arguments": {"document": "d1"}}',
        "<｜tool▁calls▁begin｜>",
        "<|channel|>commentary to=functions.documents_list",
        "I will call\n<tool_call>\n{broken",
    ],
)
def test_a_tool_call_that_the_engine_left_as_text_is_junk_and_no_answer(content: str) -> None:
    parsed = parse(completion(content))
    assert (parsed.turn.kind, parsed.turn.why) == (TurnKind.JUNK, "tool_call_as_text")


def test_plain_text_before_the_final_call_means_that_enough_was_read() -> None:
    parsed = parse(completion("<think>which tool? documents_list… </think>\nJ'ai tout lu."))
    assert parsed.turn.kind is TurnKind.ANSWER
    assert parsed.text == "J'ai tout lu."
    assert parsed.answer is None


@pytest.mark.parametrize("before", ["", "<think>\nthe price is {350000}\n</think>\n\n", "thought it over</think>"])
def test_the_typed_answer_is_read_with_or_without_reasoning_before_it(before: str) -> None:
    parsed = parse(completion(before + ANSWER, reasoning_content="hm"), final=True)
    assert parsed.turn.kind is TurnKind.ANSWER
    assert isinstance(parsed.answer, Examination)
    assert parsed.answer.claims[0].value == 350000


def test_reasoning_markup_inside_the_answer_is_left_alone() -> None:
    said = {**EXAMINATION, "summary": "a </think> b"}
    parsed = parse(completion(json.dumps(said)), final=True)
    assert isinstance(parsed.answer, Examination)
    assert parsed.answer.summary == "a </think> b"


def _with(change: dict[str, Any], at: tuple[str | int, ...] = ()) -> str:
    said = deepcopy(EXAMINATION)
    place: Any = said
    for key in at:
        place = place[key]
    place.update(change)
    return json.dumps(said, ensure_ascii=False)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("Here you are: " + ANSWER, "answer_not_json"),
        (f"```json\n{ANSWER}\n```", "answer_not_json"),
        (ANSWER + ANSWER, "answer_not_json"),
        (ANSWER[:-20], "answer_not_json"),
        ("null", "answer_not_of_the_schema"),
        (_with({"extra": 1}), "answer_not_of_the_schema"),
        (_with({"summary": "x" * 1201}), "answer_not_of_the_schema"),
        (_with({"value": 1.5}, ("claims", 0)), "answer_not_of_the_schema"),
        (_with({"value": None}, ("claims", 0)), "answer_not_of_the_schema"),
        (_with({"page": "1"}, ("claims", 0, "evidence")), "answer_not_of_the_schema"),
        (_with({"quote": "x" * 301}, ("claims", 0, "evidence")), "answer_not_of_the_schema"),
        (_with({"code": "made_up"}, ("concerns", 0)), "answer_not_of_the_schema"),
        (ANSWER.replace("350000", "NaN"), "answer_not_a_number"),
        (ANSWER.replace("350 000", "\\u0000"), "answer_bad_text"),
        (ANSWER.replace('"summary"', '"claims": [], "summary"'), "answer_duplicate_key"),
        ("[" * 5000, "answer_too_deep"),
    ],
)
def test_an_answer_that_is_not_exactly_one_is_junk(content: str, why: str) -> None:
    parsed = parse(completion(content), final=True)
    assert (parsed.turn.kind, parsed.turn.why, parsed.answer) == (TurnKind.JUNK, why, None)


@pytest.mark.parametrize(
    ("body", "kind", "why"),
    [
        (completion(None), TurnKind.EMPTY, "no_content"),
        (completion(" \n"), TurnKind.EMPTY, "no_content"),
        (completion(None, reasoning_content="thinking…"), TurnKind.EMPTY, "no_content"),
        (completion("<think>forever and ever"), TurnKind.JUNK, "unfinished_thought"),
        (completion("{", finish="length"), TurnKind.TRUNCATED, "length"),
        (completion(calls=[("documents_list", "{")], finish="length"), TurnKind.TRUNCATED, "length"),
        (completion(None, refusal="I cannot help."), TurnKind.REFUSED, "refusal"),
        (completion("…", finish="content_filter"), TurnKind.REFUSED, "content_filter"),
        (completion("x", finish="abort"), TurnKind.JUNK, "finish_reason"),
        (completion("x" * 200_001), TurnKind.ENDLESS, "content_too_long"),
        (b" " * (BODY_LIMIT + 1), TurnKind.ENDLESS, "body_too_long"),
        (b"<html>502</html>", TurnKind.JUNK, "body_not_json"),
        (b"[]", TurnKind.JUNK, "body_not_an_object"),
        (b"{}", TurnKind.JUNK, "no_message"),
        (b'{"choices": []}', TurnKind.JUNK, "no_message"),
        (b'{"choices": [{"message": "x"}]}', TurnKind.JUNK, "no_message"),
        (b'{"choices": [{"message": {"content": ["x"]}, "finish_reason": "stop"}]}', TurnKind.JUNK, "content_not_text"),
        (b'{"choices": [{"message": {"content": "x", "content": "y"}}]}', TurnKind.JUNK, "body_duplicate_key"),
        (b'{"choices": "\xff"}', TurnKind.JUNK, "body_not_utf8"),
    ],
)
@pytest.mark.parametrize("final", [False, True])
def test_answers_of_no_use_are_named(body: bytes, kind: TurnKind, why: str, final: bool) -> None:
    parsed = parse(body, final=final)
    assert (parsed.turn.kind, parsed.turn.why, parsed.turn.final) == (kind, why, final)
    assert (parsed.calls, parsed.answer) == ((), None)


def test_a_tab_that_xgrammar_let_through_unescaped_is_no_junk() -> None:
    """Seen with vLLM 0.32: its JSON grammar leaves control characters in strings as they are."""
    parsed = parse(completion(ANSWER.replace("350 000", "350\t000")), final=True)
    assert isinstance(parsed.answer, Examination)
    assert parsed.answer.claims[0].evidence.quote == "Prix : 350\t000 DH"


def test_tool_calls_on_the_final_call_are_junk() -> None:
    parsed = parse(completion(ANSWER, calls=[("documents_list", "{}")]), final=True)
    assert (parsed.turn.kind, parsed.turn.why) == (TurnKind.JUNK, "tool_calls_not_allowed")


def test_an_answer_that_the_client_cut_off_is_a_turn_too() -> None:
    assert broken(final=True, endless=True, why="engine.too_long").turn.kind is TurnKind.ENDLESS
    assert broken(final=True, endless=False, why="engine.not_json").turn.kind is TurnKind.JUNK


def test_absurd_usage_counts_as_none() -> None:
    body = json.loads(completion("x"))
    body["usage"] = {"prompt_tokens": -5, "completion_tokens": True, "prompt_tokens_details": {"cached_tokens": 1e3}}
    turn = parse(json.dumps(body).encode()).turn
    assert (turn.prompt_tokens, turn.completion_tokens, turn.cached_tokens) == (0, 0, 0)


KEYS = ["choices", "message", "content", "tool_calls", "function", "name", "arguments", "finish_reason", "refusal"]
scalars = (
    st.none() | st.booleans() | st.integers(-10, 10) | st.sampled_from(["stop", "length", "{}", "<think>", ANSWER])
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)


anything: st.SearchStrategy[Any] = st.recursive(scalars, _nested, max_leaves=25)
messages = st.fixed_dictionaries({"message": anything, "finish_reason": scalars})


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_raise(body: bytes, final: bool) -> None:
    assert parse(body, final=final).turn.final is final


@given(anything | st.fixed_dictionaries({"choices": st.tuples(messages)}), st.booleans())
def test_no_json_raises(body: object, final: bool) -> None:
    assert parse(json.dumps(body).encode(), final=final).turn.final is final


@given(st.text(max_size=200), st.booleans())
def test_no_content_raises(content: str, final: bool) -> None:
    assert parse(completion(content), final=final).turn.final is final
