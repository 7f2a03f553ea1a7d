"""What an agent run has on record, rebuilt from Postgres: turns for the loop, exchanges for the next request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from pydantic import BaseModel

from agents.loop import Turn
from agents.messages import Exchange
from agents.parse import Parsed, RequestedCall, broken, parse_response
from agents.spec import AgentSpec
from diwan.domain.errors import NotFound
from diwan.domain.ports import Cipher
from diwan.store import calls
from diwan.store.connection import Connection


@dataclass(frozen=True)
class Transcript:
    """Calls count from 1. Personal data, but for `turns`. `attempts`: the last of each call that was sent; `faults`:
    how many of each an engine failed."""

    exchanges: list[Exchange]
    turns: list[Turn]
    attempts: Mapping[int, int]
    faults: Mapping[int, int]

    @property
    def answer(self) -> BaseModel | None:
        """The typed answer of the last call, where it has one."""
        return self.exchanges[-1].parsed.answer if self.exchanges else None


async def read_transcript(
    conn: Connection,
    tenant: str,
    spec: AgentSpec,
    run: str,
    cipher: Cipher,
    *,
    known: Sequence[Exchange] = (),
    fresh: Fresh | None = None,
) -> Transcript:
    """The used answer of every call of the run, in order, parsed as it was when it came.

    `known` are its first ones; `fresh` is one that was just parsed.
    """
    recorded = await calls.recorded(conn, tenant, run, cipher, after=len(known))
    results: dict[int, dict[int, calls.ToolResult]] = {}
    for result in recorded.results:
        results.setdefault(result.call, {})[result.position] = result
    exchanges = list(known)
    turns = [exchange.parsed.turn for exchange in known]
    for answer in recorded.answers:
        if fresh is not None and (fresh.call, fresh.body) == (answer.call, answer.body):
            parsed = fresh.parsed
        else:
            parsed = parsed_answer(spec, answer.body, final=answer.final, broken_as=answer.broken)
        if answer.host:
            parsed = replace(parsed, turn=parsed.turn.model_copy(update={"host": answer.host}))
        own = results.get(answer.call, {})
        wanted = [request.position for request in parsed.turn.runnable]
        if wanted and all(position in own for position in wanted):
            parsed = replace(parsed, turn=parsed.turn.with_results([own[position].ok for position in wanted]))
        exchanges.append(Exchange(parsed, {position: each.result for position, each in own.items()}))
        turns.append(parsed.turn)
    return Transcript(exchanges, turns, recorded.attempts, recorded.faults)


@dataclass(frozen=True, slots=True)
class Fresh:
    """An answer as it came and was parsed for the call `call`."""

    call: int
    body: bytes
    parsed: Parsed


class Transcripts:
    """Keeps what was opened and parsed of the runs that called here last, so that a call reads only what is new.

    Nothing of it can change: the used answer of a call stays the used one, and a tool's first result stays. An exchange
    is kept when nothing is to come to it any more, under the very cipher that opened it: with the keyring's copy of a
    key goes what that key had opened. At most `runs` of them.
    """

    def __init__(self, *, runs: int = 64) -> None:
        self._runs = runs
        self._kept: OrderedDict[tuple[str, str], tuple[Cipher, list[Exchange], Fresh | None]] = OrderedDict()

    async def read(self, conn: Connection, tenant: str, spec: AgentSpec, run: str, cipher: Cipher) -> Transcript:
        """As `read_transcript`."""
        opened_by, known, fresh = self._kept.pop((tenant, run), (cipher, [], None))
        if opened_by is not cipher:
            known, fresh = [], None
        transcript = await read_transcript(conn, tenant, spec, run, cipher, known=known, fresh=fresh)
        whole = list(takewhile(_whole, transcript.exchanges))
        self._kept[tenant, run] = (cipher, whole, None)
        while len(self._kept) > self._runs:
            self._kept.popitem(last=False)
        return transcript

    def came(self, tenant: str, run: str, fresh: Fresh) -> None:
        """The answer that counts of the run's latest call: it need not be parsed again."""
        if (kept := self._kept.get((tenant, run))) is not None:
            self._kept[tenant, run] = (*kept[:2], fresh)

    def forget(self, tenant: str, run: str) -> None:
        """The run asks nothing more."""
        self._kept.pop((tenant, run), None)


def _whole(exchange: Exchange) -> bool:
    turn = exchange.parsed.turn
    return not turn.runnable or turn.results is not None


async def read_request(
    conn: Connection, tenant: str, spec: AgentSpec, run: str, call: int, position: int, cipher: Cipher
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
