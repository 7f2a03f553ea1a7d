"""From the bytes of an engine's answer to a `Turn` and what the next request needs of it. Never raises.

What is not exactly an answer or a set of tool calls is named for what it is: junk, truncated, refused, empty,
endless. Nothing is repaired or guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from pydantic import BaseModel, JsonValue, ValidationError

from agents import strict_json
from agents.loop import ToolRequest, Turn, TurnKind
from agents.spec import AgentSpec
from agents.usage import Usage, usage_of

# With `return_token_ids` an answer repeats its prompt as numbers: about 7 bytes a token.
BODY_LIMIT = 4 * 1024 * 1024
# No typed answer is longer, whatever the engine was asked for. Characters.
_CONTENT_LIMIT = 200_000
# What the model says between its tool calls is kept for it up to here. Characters.
_TEXT_LIMIT = 4_000
_ARGUMENTS_LIMIT = 16 * 1024
# More calls than this in one answer are not even named.
_MOST_CALLS = 64

# A tool call that the engine's parser did not recognise comes back as text with `tool_calls: null`.
_CALL_AS_TEXT = re.compile(
    r"</?tool_calls?>|</?tool_response>|\[/?TOOL_CALLS\]|<\|?/?function_?calls?\b|<function=|<\|python_tag\|>|<\|tool▁|<｜tool|"
    r"<\|channel\|>|<\|call\|>|to=functions\.|<\|tool_call|\"(?:name|tool|function)\"\s*:\s*\"[a-z]+_[a-z_]+\"",
    re.IGNORECASE,
)
_THOUGHT = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_THOUGHT_BEGIN = re.compile(r"\A\s*<think(?:ing)?>", re.IGNORECASE)


@dataclass(frozen=True)
class RequestedCall:
    """A tool call as asked for: `arguments` are validated (and empty where `problem` is set). Personal data."""

    request: ToolRequest
    wire_name: str
    arguments: Mapping[str, JsonValue]


@dataclass(frozen=True)
class Parsed:
    """`turn` may enter a history; `text`, `calls` and `answer` are personal data and stay in Postgres.

    `answer` is the typed output of a valid final call, an instance of the spec's `output`.
    """

    turn: Turn
    text: str = ""
    calls: tuple[RequestedCall, ...] = ()
    answer: BaseModel | None = None


@dataclass(frozen=True)
class _Call:
    """What all branches below need."""

    spec: AgentSpec
    final: bool
    usage: Usage = field(default_factory=Usage)

    def turn(self, kind: TurnKind, why: str = "", requests: tuple[ToolRequest, ...] = ()) -> Turn:
        return Turn(
            kind=kind,
            final=self.final,
            why=why,
            requests=requests,
            **self.usage.model_dump(),
        )

    def bad(self, kind: TurnKind, why: str) -> Parsed:
        return Parsed(self.turn(kind, why))


def parse_response(spec: AgentSpec, body: bytes, *, final: bool) -> Parsed:
    """What an engine's HTTP 200 body says; `final` as in the request that it answers."""
    call = _Call(spec, final)
    try:
        response = strict_json.loads(body, limit=BODY_LIMIT)
    except strict_json.NotStrict as error:
        kind = TurnKind.ENDLESS if error.why == "too_long" else TurnKind.JUNK
        return call.bad(kind, f"body_{error.why}")
    if not isinstance(response, dict):
        return call.bad(TurnKind.JUNK, "body_not_an_object")
    call = _Call(spec, final, usage_of(response))
    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return call.bad(TurnKind.JUNK, "no_message")
    return _of_message(call, message, choice.get("finish_reason"))


def broken(*, final: bool, endless: bool, why: str) -> Parsed:
    """The turn of an answer that the client could not read to its end (not HTTP, not JSON, too long, too slow)."""
    return Parsed(Turn(kind=TurnKind.ENDLESS if endless else TurnKind.JUNK, final=final, why=why))


def _of_message(call: _Call, message: dict[str, JsonValue], finish: JsonValue) -> Parsed:
    content = message.get("content")
    tool_calls = message.get("tool_calls")
    if message.get("refusal") or finish == "content_filter":
        return call.bad(TurnKind.REFUSED, "refusal" if message.get("refusal") else "content_filter")
    if finish == "length":
        return call.bad(TurnKind.TRUNCATED, "length")
    if finish not in ("stop", "tool_calls"):
        return call.bad(TurnKind.JUNK, "finish_reason")
    if content is not None and not isinstance(content, str):
        return call.bad(TurnKind.JUNK, "content_not_text")
    if len(content or "") > _CONTENT_LIMIT:
        return call.bad(TurnKind.ENDLESS, "content_too_long")
    text = _without_thought(content or "")
    if text is None:
        return call.bad(TurnKind.JUNK, "unfinished_thought")
    if tool_calls:
        if call.final or not isinstance(tool_calls, list):
            return call.bad(TurnKind.JUNK, "tool_calls_not_allowed" if call.final else "tool_calls_not_a_list")
        return _of_calls(call, tool_calls, text)
    if not text:
        return call.bad(TurnKind.EMPTY, "no_content")
    if call.final:
        return _of_answer(call, text)
    if _CALL_AS_TEXT.search(text):
        return call.bad(TurnKind.JUNK, "tool_call_as_text")
    return Parsed(call.turn(TurnKind.ANSWER), text=text[:_TEXT_LIMIT])


def _without_thought(content: str) -> str | None:
    """Content less the reasoning that some engines leave in it; None where the reasoning never ends."""
    text = _THOUGHT.sub("", content, count=1)
    if _THOUGHT_BEGIN.match(text):
        return None
    if not text.lstrip().startswith(("{", "[")) and (ends := list(_THOUGHT_END.finditer(text))):
        text = text[ends[-1].end() :]  # a template that opens the thought in the prompt leaves only its end
    return text.strip()


def _of_answer(call: _Call, text: str) -> Parsed:
    try:
        value = strict_json.loads(text, limit=_CONTENT_LIMIT, controls=True)
    except strict_json.NotStrict as error:
        return call.bad(TurnKind.JUNK, f"answer_{error.why}")
    try:
        answer = call.spec.output.model_validate(value)
    except ValidationError:
        return call.bad(TurnKind.JUNK, "answer_not_of_the_schema")
    return Parsed(call.turn(TurnKind.ANSWER), text=text, answer=answer)


def _of_calls(call: _Call, tool_calls: list[JsonValue], text: str) -> Parsed:
    calls = tuple(_requested(call.spec, position, item) for position, item in enumerate(tool_calls[:_MOST_CALLS]))
    turn = call.turn(TurnKind.TOOLS, requests=tuple(each.request for each in calls))
    return Parsed(turn, text=text[:_TEXT_LIMIT], calls=calls)


def _requested(spec: AgentSpec, position: int, item: JsonValue) -> RequestedCall:
    function = item.get("function") if isinstance(item, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    tool = spec.tool(name) if isinstance(name, str) else None
    if tool is None or not isinstance(function, dict):
        # The name is the model's text, perhaps an applicant's: it goes nowhere.
        return RequestedCall(ToolRequest(position=position, tool="", problem="unknown_tool"), "unknown", {})
    if position >= spec.budgets.tools_per_turn:
        return RequestedCall(ToolRequest(position=position, tool=tool.name, problem="too_many"), tool.wire_name, {})
    arguments = _arguments(tool.arguments, function.get("arguments"))
    problem = "bad_arguments" if arguments is None else ""
    request = ToolRequest(position=position, tool=tool.name, problem=problem)
    return RequestedCall(request, tool.wire_name, arguments or {})


def _arguments(model: type[BaseModel], given: JsonValue) -> dict[str, JsonValue] | None:
    if given in (None, ""):
        given = {}  # how engines write that a tool without arguments has none
    try:
        value = strict_json.loads(given, limit=_ARGUMENTS_LIMIT, controls=True) if isinstance(given, str) else given
        return cast("dict[str, JsonValue]", model.model_validate(value).model_dump(mode="json"))
    except (strict_json.NotStrict, ValidationError):
        return None
