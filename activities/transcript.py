"""What an agent run has on record, rebuilt from Postgres: turns for the loop, exchanges for the next request."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.dossier import OpenCase
from agents.loop import Turn
from agents.messages import Exchange
from agents.parse import Parsed, RequestedCall, broken, parse_response
from agents.spec import AgentSpec
from diwan.domain.errors import NotFound
from diwan.store import runs


@dataclass(frozen=True)
class Transcript:
    """Calls count from 1. Personal data, but for `turns`."""

    exchanges: list[Exchange]
    turns: list[Turn]

    @property
    def answer(self) -> BaseModel | None:
        """The typed answer of the last call, where it has one."""
        return self.exchanges[-1].parsed.answer if self.exchanges else None

    def requested(self, call: int, position: int) -> RequestedCall:
        """Raises `NotFound` where the answer of `call` asks for nothing at `position`."""
        if call <= len(self.exchanges):
            for request in self.exchanges[call - 1].parsed.calls:
                if request.request.position == position:
                    return request
        raise NotFound("agent.tool_call_unknown", "No such tool call is on record.")


async def read_transcript(conn: AsyncConnection, opened: OpenCase, spec: AgentSpec, run: str) -> Transcript:
    """The used answer of every call of the run, in order, parsed as it was when it came."""
    answers = await runs.used_answers(conn, opened.case.tenant, run, opened.cipher)
    results = await runs.tool_results(conn, opened.case.tenant, run, opened.cipher)
    exchanges: list[Exchange] = []
    turns: list[Turn] = []
    for answer in answers:
        parsed = parsed_answer(spec, answer.body, final=answer.final, broken_as=answer.broken)
        own = {each.position: each for each in results if each.call == answer.call}
        exchanges.append(Exchange(parsed, {position: each.result for position, each in own.items()}))
        wanted = [request.position for request in parsed.turn.runnable]
        done = bool(wanted) and all(position in own for position in wanted)
        worked = [own[position].ok for position in wanted] if done else []
        turns.append(parsed.turn.with_results(worked) if done else parsed.turn)
    return Transcript(exchanges, turns)


def parsed_answer(spec: AgentSpec, body: bytes, *, final: bool, broken_as: str) -> Parsed:
    """An answer as stored; `broken_as` is `endless`, `junk` or empty for one that was read to its end."""
    if broken_as:
        return broken(final=final, endless=broken_as == "endless", why=f"engine_{broken_as}")
    return parse_response(spec, body, final=final)
