"""What an agent run has on record, rebuilt from Postgres: turns for the loop, exchanges for the next request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from agents.loop import Turn
from agents.messages import Exchange
from agents.parse import Parsed, RequestedCall, broken, parse_response
from agents.spec import AgentSpec
from diwan.domain.errors import NotFound
from diwan.domain.ports import Cipher
from diwan.store import calls


@dataclass(frozen=True)
class Transcript:
    """Calls count from 1. Personal data, but for `turns`. `attempts`: the last of each call that was sent."""

    exchanges: list[Exchange]
    turns: list[Turn]
    attempts: Mapping[int, int]

    @property
    def answer(self) -> BaseModel | None:
        """The typed answer of the last call, where it has one."""
        return self.exchanges[-1].parsed.answer if self.exchanges else None


async def read_transcript(conn: AsyncConnection, tenant: str, spec: AgentSpec, run: str, cipher: Cipher) -> Transcript:
    """The used answer of every call of the run, in order, parsed as it was when it came."""
    recorded = await calls.recorded(conn, tenant, run, cipher)
    results: dict[int, dict[int, calls.ToolResult]] = {}
    for result in recorded.results:
        results.setdefault(result.call, {})[result.position] = result
    exchanges: list[Exchange] = []
    turns: list[Turn] = []
    for answer in recorded.answers:
        parsed = parsed_answer(spec, answer.body, final=answer.final, broken_as=answer.broken)
        own = results.get(answer.call, {})
        exchanges.append(Exchange(parsed, {position: each.result for position, each in own.items()}))
        wanted = [request.position for request in parsed.turn.runnable]
        done = bool(wanted) and all(position in own for position in wanted)
        worked = [own[position].ok for position in wanted] if done else []
        turns.append(parsed.turn.with_results(worked) if done else parsed.turn)
    return Transcript(exchanges, turns, recorded.attempts)


async def read_request(
    conn: AsyncConnection, tenant: str, spec: AgentSpec, run: str, call: int, position: int, cipher: Cipher
) -> RequestedCall:
    """The tool call that the answer of model call `call` asks for at `position`. Raises `NotFound`."""
    answer = await calls.used_answer(conn, tenant, run, call, cipher)
    if answer is not None:
        parsed = parsed_answer(spec, answer.body, final=answer.final, broken_as=answer.broken)
        for request in parsed.calls:
            if request.request.position == position:
                return request
    raise NotFound("agent.tool_call_unknown", "No such tool call is on record.")


def parsed_answer(spec: AgentSpec, body: bytes, *, final: bool, broken_as: str) -> Parsed:
    """An answer as stored; `broken_as` is `endless`, `junk` or empty for one that was read to its end."""
    if broken_as:
        return broken(final=final, endless=broken_as == "endless", why=f"engine_{broken_as}")
    return parse_response(spec, body, final=final)
