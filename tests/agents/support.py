"""Answers of an engine, made by hand, and the shipped procedure."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from diwan.procedures.examples import example_text
from diwan.procedures.load import load_procedure
from diwan.procedures.schema import Procedure


@cache
def housing() -> Procedure:
    return load_procedure(example_text("direct-housing-aid"))


def completion(
    content: str | None = None,
    *,
    calls: list[tuple[str, str]] | None = None,
    finish: str | None = None,
    usage: tuple[int, int, int] = (100, 10, 64),
    **message: Any,
) -> bytes:
    """A chat completion as vLLM sends it. `calls`: (name, arguments as text); `usage`: prompt, completion, cached."""
    tool_calls = [
        {"id": f"x{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(calls or [])
    ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content, "tool_calls": tool_calls or None, **message},
        "finish_reason": finish or ("tool_calls" if calls else "stop"),
    }
    prompt, completed, cached = usage
    body = {
        "id": "chatcmpl-1",
        "model": "m",
        "choices": [choice],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completed,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }
    return json.dumps(body, ensure_ascii=False).encode()


EXAMINATION: dict[str, Any] = {
    "documents": [{"document": "d1", "piece": "identity_card"}],
    "claims": [
        {"fact": "price", "value": 350000, "evidence": {"document": "d1", "page": 1, "quote": "Prix : 350 000 DH"}}
    ],
    "concerns": [{"code": "other_person", "text": "…"}],
    "summary": "ملخص",
}
