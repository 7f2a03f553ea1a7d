"""Two answers to the same request, compared: whether they say the same, else where they first differ.

Compared are the tokens (where both answers have them) and everything of the message and its end but what an engine
makes up anew each time: ids of tool calls. Bytes are not: an answer's own id and time always differ. Pure.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import cast

from pydantic import BaseModel, ConfigDict, JsonValue

from agents import strict_json
from agents.parse import BODY_LIMIT

# Around a difference: enough to find it in an answer, not the answer.
_CHARACTERS = 40
_TOKENS = 6

PROMPT_TOKENS, TOKENS, BODY = "prompt_token_ids", "token_ids", "body"


class Difference(BaseModel):
    """Where two answers first differ. Personal data.

    `part`: `prompt_token_ids`, `token_ids`, `body` (an answer that cannot be read) or a path in the choice, such as
    `message.tool_calls[0].function.arguments`. `position` counts from 0, in tokens or characters; None where whole
    values differ. `before` is what both have right before it, `then` and `now` what follows in each, cut short.
    """

    model_config = ConfigDict(frozen=True)

    part: str
    position: int | None
    before: str
    then: str
    now: str


class Comparison(BaseModel):
    """`tokens`: whether both had their tokens. `first` is the difference in tokens where there is one and both have
    them, else the first in what they say; `said` the first in what they say, where that is not `first`."""

    model_config = ConfigDict(frozen=True)

    tokens: bool
    first: Difference | None = None
    said: Difference | None = None

    @property
    def identical(self) -> bool:
        return self.first is None


def compare(then: bytes, now: bytes) -> Comparison:
    """Two bodies of chat completions, as received. Never raises."""
    old, new = _choice(then), _choice(now)
    if old is None or new is None:
        # No answer that could be read: then only its very bytes are the same.
        return Comparison(tokens=False, first=_in_text(BODY, _text(then), _text(now)))
    (old_asked, old_choice), (new_asked, new_choice) = old, new
    in_tokens: Difference | None = None
    both = True
    for part, a, b in (
        (PROMPT_TOKENS, old_asked, new_asked),
        (TOKENS, _tokens(old_choice.get("token_ids")), _tokens(new_choice.get("token_ids"))),
    ):
        if a is None or b is None:
            both = False
        elif in_tokens is None:
            in_tokens = _in_tokens(part, a, b)
    said = _in_values(_said(old_choice), _said(new_choice))
    return Comparison(tokens=both, first=in_tokens or said, said=said if in_tokens else None)


def first_difference(then: Sequence[object], now: Sequence[object]) -> int | None:
    """The first place at which two sequences differ, the end of the shorter among them; None where they are equal."""
    for place, (a, b) in enumerate(zip(then, now, strict=False)):
        if a != b:
            return place
    return None if len(then) == len(now) else min(len(then), len(now))


def _choice(body: bytes) -> tuple[list[int] | None, Mapping[str, JsonValue]] | None:
    """The tokens of the prompt, and the one choice of an answer; None where it is none."""
    try:
        said = strict_json.loads(body, limit=BODY_LIMIT)
    except strict_json.NotStrict:
        return None
    choices = said.get("choices") if isinstance(said, dict) else None
    if not isinstance(said, dict) or not isinstance(choices, list) or len(choices) != 1:
        return None
    choice = choices[0]
    return (_tokens(said.get("prompt_token_ids")), choice) if isinstance(choice, dict) else None


def _tokens(value: JsonValue) -> list[int] | None:
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        return None
    return cast("list[int]", value)


def _in_tokens(part: str, then: list[int], now: list[int]) -> Difference | None:
    place = first_difference(then, now)
    if place is None:
        return None

    def shown(tokens: list[int]) -> str:
        return " ".join(map(str, tokens))

    return Difference(
        part=part,
        position=place,
        before=shown(then[max(0, place - _TOKENS) : place]),
        then=shown(then[place : place + _TOKENS]),
        now=shown(now[place : place + _TOKENS]),
    )


def _in_text(part: str, then: str, now: str) -> Difference | None:
    place = first_difference(then, now)
    if place is None:
        return None
    return Difference(
        part=part,
        position=place,
        before=then[max(0, place - _CHARACTERS) : place],
        then=then[place : place + _CHARACTERS],
        now=now[place : place + _CHARACTERS],
    )


# What is looked at first; anything else of a message comes after these, and how it ended last.
_ORDER = ("message.reasoning", "message.content", "message.tool_calls", "message")
_END = ("finish_reason", "stop_reason")


def _said(choice: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Every value of the message and how it ended, by path. What is absent, null or empty is the same."""
    said = dict(_leaves("message", choice.get("message"), ids=False))
    return said | {ending: choice[ending] for ending in _END if choice.get(ending) is not None}


def _leaves(path: str, value: JsonValue, *, ids: bool) -> Generator[tuple[str, JsonValue]]:
    """`ids`: within a list of tool calls, each of which has an id made up by the engine."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not (ids and name == "id"):
                yield from _leaves(f"{path}.{name}", inner, ids=False)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(f"{path}[{number}]", inner, ids=path == "message.tool_calls")
    elif value not in (None, ""):
        yield path, value


def _in_values(then: Mapping[str, JsonValue], now: Mapping[str, JsonValue]) -> Difference | None:
    # The sort is stable: paths of one kind stay in the order in which the answers have them.
    for path in sorted(dict.fromkeys([*then, *now]), key=_rank):
        a, b = then.get(path), now.get(path)
        if isinstance(a, str | None) and isinstance(b, str | None) and path not in _END:
            found = _in_text(path, a or "", b or "")
        elif type(a) is type(b) and a == b:
            found = None
        else:
            found = Difference(part=path, position=None, before="", then=_value(a), now=_value(b))
        if found is not None:
            return found
    return None


def _rank(path: str) -> int:
    return next((n for n, start in enumerate(_ORDER) if path.startswith(start)), len(_ORDER))


def _value(value: JsonValue) -> str:
    return "" if value is None else str(value)[: 2 * _CHARACTERS]


def _text(body: bytes) -> str:
    return body.decode("utf-8", "backslashreplace")
