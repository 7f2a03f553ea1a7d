"""What an agent is: a name, a capability, tools, budgets and the type of its answer. The case's data is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from agents.tools import Tool


@dataclass(frozen=True)
class Budgets:
    """Bounds of one run. Whatever an engine answers, a run ends within them.

    `calls` model calls; `tokens` prompt and completion tokens of all calls together; `seconds` of wall time;
    `retries` answers of no use (junk, cut, refused, empty, endless) that are forgiven; `tools_per_turn` tool calls
    carried out of one answer; `tool_failures` tools that may fail; `answer_tokens` asked of the engine at most per
    call.
    """

    calls: int = 24
    tokens: int = 600_000
    seconds: float = 900
    retries: int = 2
    tools_per_turn: int = 24
    tool_failures: int = 2
    answer_tokens: int = 8_192


@dataclass(frozen=True)
class AgentSpec:
    """`prompts` is the version of the prompt files; `capability` is what the pool's registry maps to models."""

    name: str
    version: str
    capability: str
    prompts: str
    tools: tuple[Tool, ...]
    output: type[BaseModel]
    budgets: Budgets = Budgets()

    def tool(self, wire_name: str) -> Tool | None:
        return next((tool for tool in self.tools if tool.wire_name == wire_name), None)
