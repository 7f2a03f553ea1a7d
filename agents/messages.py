"""The chat request of one model call, built from what Postgres holds. Byte-stable: same inputs, same bytes.

Order, longest-lived first, so that engines find it in their prefix cache: tools, which chat templates put first, the
agent's instructions and the procedure (one system message), the dossier's list of documents, then the transcript, only
ever appended to. No time stamp, no case number, no random id. Messages alternate as the strictest chat templates demand
(Mistral's: user and assistant in turn, nothing but an assistant after a tool).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import JsonValue

from agents.loop import Turn, TurnKind
from agents.parse import Parsed, RequestedCall
from agents.sampling import GREEDY, Sampling
from agents.spec import AgentSpec
from agents.templates import Prompt, load_prompt
from agents.tools import tool_error
from diwan.domain.text import Language

_CORRECTIONS = {
    TurnKind.TOOLS: "correction_junk",
    TurnKind.JUNK: "correction_junk",
    TurnKind.TRUNCATED: "correction_truncated",
    TurnKind.ENDLESS: "correction_truncated",
    TurnKind.REFUSED: "correction_refused",
    TurnKind.EMPTY: "correction_empty",
}


@dataclass(frozen=True)
class Briefing:
    """What one run is about, rendered by its agent: `system` slots, the `dossier` message, the answer's JSON Schema.

    `language` is that of the instructions; documents come in whatever language they are written.
    """

    language: Language
    system: Mapping[str, str]
    dossier: Mapping[str, str]
    schema: Mapping[str, JsonValue]


@dataclass(frozen=True)
class Exchange:
    """One earlier call of the run: its used answer, and what the tools it asked for gave back, by position."""

    parsed: Parsed
    results: Mapping[int, JsonValue] = field(default_factory=dict[int, JsonValue])

    @cached_property
    def shown(self) -> Mapping[int, str]:
        """The results as the model gets them."""
        return {position: encode(result) for position, result in self.results.items()}


def build_request(
    spec: AgentSpec,
    briefing: Briefing,
    transcript: Sequence[Exchange],
    *,
    final: bool,
    model: str,
    sampling: Sampling = GREEDY,
) -> dict[str, JsonValue]:
    """The body of POST /v1/chat/completions (`diwan/pool` adds what only an engine cares about).

    `final` asks for the typed answer by `response_format` and lets no tool be called: were one allowed, vLLM would
    suppress the schema or the call. The tools stay in the request, for they stand before all else in the prompt:
    without them the engine would compute the whole transcript anew.
    """
    prompt = load_prompt(spec.name, spec.prompts, briefing.language)
    messages: list[JsonValue] = [
        _message("system", prompt.text("system", **briefing.system)),
        _message("user", prompt.text("dossier", **briefing.dossier)),
    ]
    asked_final = False
    for number, exchange in enumerate(transcript):
        if exchange.parsed.turn.final and not asked_final:
            _ask_for_answer(messages, prompt)
            asked_final = True
        messages.extend(_exchange(prompt, number, exchange))
    if final and not asked_final:
        _ask_for_answer(messages, prompt)
    request: dict[str, JsonValue] = {
        "model": model,
        "messages": messages,
        **sampling.request(),
        "max_tokens": spec.budgets.answer_tokens,
        "stream": False,
    }
    if spec.tools:  # an empty list is no request
        request["tools"] = [tool.definition(briefing.language) for tool in spec.tools]
        request["tool_choice"] = "none" if final else "auto"
    if final:
        schema: JsonValue = dict(briefing.schema)
        format_: JsonValue = {"name": spec.name, "schema": schema, "strict": True}
        request["response_format"] = {"type": "json_schema", "json_schema": format_}
    return request


def encode(value: JsonValue) -> str:
    """Compact JSON with stable keys; Arabic stays legible."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def call_id(number: int, position: int) -> str:
    """Our own id of a tool call, by call (0-based) and position: nine letters and digits, as Mistral's demand."""
    return f"c{number:04d}{position:04d}"


def _message(role: str, content: str) -> JsonValue:
    return {"role": role, "content": content}


def _ask_for_answer(messages: list[JsonValue], prompt: Prompt) -> None:
    last = messages[-1]
    if not (isinstance(last, dict) and last["role"] == "assistant"):
        messages.append(_message("assistant", prompt.text("ready")))
    messages.append(_message("user", prompt.text("answer")))


def _exchange(prompt: Prompt, number: int, exchange: Exchange) -> list[JsonValue]:
    parsed = exchange.parsed
    turn = parsed.turn
    if turn.kind is TurnKind.TOOLS:
        return [_assistant_calls(number, parsed), *(_tool_message(number, call, exchange) for call in parsed.calls)]
    if turn.kind is TurnKind.ANSWER:
        return [_message("assistant", parsed.text)]
    return _correction(prompt, turn)


def _assistant_calls(number: int, parsed: Parsed) -> JsonValue:
    calls: list[JsonValue] = [
        {
            "id": call_id(number, call.request.position),
            "type": "function",
            "function": {"name": call.wire_name, "arguments": encode(dict(call.arguments))},
        }
        for call in parsed.calls
    ]
    return {"role": "assistant", "content": parsed.text, "tool_calls": calls}


def _tool_message(number: int, call: RequestedCall, exchange: Exchange) -> JsonValue:
    problem = call.request.problem
    position = call.request.position
    shown = None if problem else exchange.shown.get(position)
    content = encode(tool_error(problem or "unavailable")) if shown is None else shown
    return {"role": "tool", "tool_call_id": call_id(number, position), "content": content}


def _correction(prompt: Prompt, turn: Turn) -> list[JsonValue]:
    """What was of no use is not shown again: it would teach by example. A placeholder keeps the turns in order."""
    return [_message("assistant", prompt.text("unusable")), _message("user", prompt.text(_CORRECTIONS[turn.kind]))]
