"""Tokens of one model call, as an engine counts them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue


class Usage(BaseModel):
    """`cached_tokens` are those of the prompt that the engine had computed before."""

    model_config = ConfigDict(frozen=True)

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


def usage_of(response: JsonValue) -> Usage:
    """The `usage` of a chat completion; zero for whatever is missing or absurd."""
    usage = response.get("usage") if isinstance(response, dict) else None
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
    )


def _count(value: JsonValue) -> int:
    return value if type(value) is int and 0 <= value < 2**31 else 0
