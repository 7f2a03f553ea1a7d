"""Agent runs: exact requests and answers of every attempt, what tools answered, how a run ended.

Of the attempts of one call the first stored answer counts; others are kept and never used, and so are answers that
come after the run has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from diwan.domain.case import step_key
from diwan.domain.errors import Conflict, Unavailable
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import Change
from diwan.store.sealing import context, open_json, seal_json
from diwan.store.tables import agent_run, model_call, tool_call

RUNNING = "running"
FINISHED = "finished"
GAVE_UP = "gave_up"
CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class RunRow:
    """status: running | finished | gave_up | cancelled. `new`: this very call of `start_run` made it."""

    id: str
    case_id: str
    step: str
    visit: int
    spec: str
    prompts: str
    status: str
    outcome: str
    calls: int
    tokens: int
    started_at: datetime
    ended_at: datetime | None
    new: bool = False


_RUN = [agent_run.c[name] for name in RunRow.__dataclass_fields__ if name != "new"]


async def start_run(change: Change, step: str, visit: int, *, spec: str, prompts: str) -> RunRow:
    """The run of this visit of a step; made unless it is there (then nothing is changed)."""
    run_id = step_key(change.case.id, step, visit)
    found = await get_run(change.conn, change.case.tenant, run_id)
    if found is not None:
        return found
    made = RunRow(
        *(run_id, change.case.id, step, visit, spec, prompts, RUNNING, "", 0, 0, change.now, None),
        new=True,
    )
    values = {column.name: getattr(made, column.name) for column in _RUN}
    await change.conn.execute(insert(agent_run).values(tenant=change.case.tenant, **values))
    return made


async def get_run(conn: AsyncConnection, tenant: str, run: str) -> RunRow | None:
    """The run of this id (`step_key` of case, step, visit)."""
    found = await conn.execute(select(*_RUN).where(agent_run.c.tenant == tenant, agent_run.c.id == run))
    row = found.one_or_none()
    return RunRow(*row) if row else None


async def end_run(change: Change, run: str, *, status: str, outcome: str = "") -> bool:
    """Ends a running run; False where it had ended before (nothing is changed then)."""
    done = await change.conn.execute(
        update(agent_run)
        .where(agent_run.c.tenant == change.case.tenant, agent_run.c.id == run, agent_run.c.status == RUNNING)
        .values(status=status, outcome=outcome, ended_at=change.now)
    )
    return done.rowcount == 1


async def cancel_run(change: Change, step: str, visit: int) -> bool:
    """Ends the run of a step that the case leaves; what it still answers is stored and never used."""
    return await end_run(change, step_key(change.case.id, step, visit), status=CANCELLED)


# --- model calls -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UsedAnswer:
    """The answer of a call that counts, as received; `broken` names why it could not be read to its end."""

    call: int
    body: bytes
    final: bool
    broken: str


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """`used` is False for an answer that came after another attempt's, or after the run had ended."""

    used: bool


def _model_place(column: str, run: str, call: int, attempt: int) -> str:
    return context(f"model_call.{column}", run, call, attempt)


async def used_answers(conn: AsyncConnection, tenant: str, run: str, cipher: Cipher) -> list[UsedAnswer]:
    """The answers of a run that count, by call."""
    m = model_call.c
    rows = await conn.execute(
        select(m.call, m.attempt, m.final, m.broken, m.response_sealed)
        .where(m.tenant == tenant, m.run_id == run, m.used)
        .order_by(m.call)
    )
    return [
        UsedAnswer(
            row.call,
            cipher.open(
                RetentionClass.EXCHANGE,
                _model_place("response_sealed", run, row.call, row.attempt),
                row.response_sealed,
            ),
            row.final,
            row.broken,
        )
        for row in rows
    ]


async def model_used(conn: AsyncConnection, tenant: str, case_id: str) -> str:
    """The model whose answer the latest finished run of a case ended with; empty where people did it all."""
    m, r = model_call.c, agent_run.c
    found = await conn.execute(
        select(m.model)
        .join(agent_run, (r.tenant == m.tenant) & (r.id == m.run_id))
        .where(m.tenant == tenant, m.case_id == case_id, m.used, r.status == FINISHED)
        .order_by(r.visit.desc(), m.call.desc())
        .limit(1)
    )
    return found.scalar_one_or_none() or ""


async def store_request(
    conn: AsyncConnection,
    tenant: str,
    *,
    case_id: str,
    run: str,
    call: int,
    final: bool,
    model: str,
    request: bytes,
    cipher: Cipher,
    now: datetime,
) -> int:
    """Stores a request as it will be sent and gives the number of its attempt (from 1). Changes nothing of the case.

    Raises `Unavailable` where another worker took the number at the same moment.
    """
    m = model_call.c
    taken = await conn.execute(
        select(func.coalesce(func.max(m.attempt), 0)).where(m.tenant == tenant, m.run_id == run, m.call == call)
    )
    attempt = int(taken.scalar_one()) + 1
    stored = await conn.execute(
        postgresql.insert(model_call)
        .values(
            tenant=tenant,
            run_id=run,
            call=call,
            attempt=attempt,
            case_id=case_id,
            model=model,
            final=final,
            request_sealed=cipher.seal(
                RetentionClass.EXCHANGE, _model_place("request_sealed", run, call, attempt), request
            ),
            status="sent",
            started_at=now,
        )
        .on_conflict_do_nothing()
    )
    if stored.rowcount != 1:
        raise Unavailable("call.attempt_taken", "Another worker sends this call just now.", "Try again.")
    return attempt


async def store_answer(
    change: Change,
    cipher: Cipher,
    *,
    run: str,
    call: int,
    attempt: int,
    body: bytes,
    broken: str,
    engine: str,
    usage: Mapping[str, int],
) -> StoredAnswer:
    """Stores an answer as received. The first of a call whose run goes on is used.

    `usage` counts tokens: `prompt_tokens` and `completion_tokens` of a used answer add to the run's. Raises
    `Conflict` where the attempt has its answer, or no request of it is stored.
    """
    used = await _may_use(change, run, call)
    m = model_call.c
    done = await change.conn.execute(
        update(model_call)
        .where(
            m.tenant == change.case.tenant, m.run_id == run, m.call == call, m.attempt == attempt, m.status == "sent"
        )
        .values(
            response_sealed=cipher.seal(
                RetentionClass.EXCHANGE, _model_place("response_sealed", run, call, attempt), body
            ),
            status="answered" if used else "late",
            used=used,
            broken=broken,
            usage=dict(usage),
            engine=engine,
            ended_at=change.now,
        )
    )
    if done.rowcount != 1:
        raise Conflict("call.not_sent", "No request of this attempt waits for an answer.", "Store the request first.")
    if used:
        tokens = usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0)
        await change.conn.execute(
            update(agent_run)
            .where(agent_run.c.tenant == change.case.tenant, agent_run.c.id == run)
            .values(calls=agent_run.c.calls + 1, tokens=agent_run.c.tokens + tokens)
        )
    return StoredAnswer(used)


async def _may_use(change: Change, run: str, call: int) -> bool:
    """Decided under the case's lock, so two attempts cannot both be first."""
    found = await get_run(change.conn, change.case.tenant, run)
    if found is None or found.status != RUNNING:
        return False
    m = model_call.c
    other = await change.conn.execute(
        select(m.attempt).where(m.tenant == change.case.tenant, m.run_id == run, m.call == call, m.used)
    )
    return other.one_or_none() is None


# --- tool calls ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolResult:
    """`result` as given to the model (JSON)."""

    call: int
    position: int
    tool: str
    ok: bool
    result: Any


@dataclass(frozen=True, slots=True)
class StoredResult:
    """`new` is False where the result of this call was stored before; `ok` is then that of the stored one."""

    new: bool
    ok: bool


def _tool_place(column: str, run: str, call: int, position: int) -> str:
    return context(f"tool_call.{column}", run, call, position)


async def tool_results(conn: AsyncConnection, tenant: str, run: str, cipher: Cipher) -> list[ToolResult]:
    """What the tools of a run answered, by call and position."""
    t = tool_call.c
    rows = await conn.execute(
        select(t.call, t.position, t.tool, t.status, t.result_sealed)
        .where(t.tenant == tenant, t.run_id == run)
        .order_by(t.call, t.position)
    )
    return [
        ToolResult(
            *(row.call, row.position, row.tool, row.status == "done"),
            result=open_json(
                cipher,
                RetentionClass.EXCHANGE,
                _tool_place("result_sealed", run, row.call, row.position),
                row.result_sealed,
            ),
        )
        for row in rows
    ]


async def store_tool_result(
    change: Change,
    cipher: Cipher,
    *,
    run: str,
    call: int,
    position: int,
    tool: str,
    effect: str,
    arguments: Mapping[str, JsonValue],
    result: Any,
    ok: bool,
) -> StoredResult:
    """Stores what a tool answered, keyed by call and position: the first result stays."""
    place = (run, call, position)
    stored = await change.conn.execute(
        postgresql.insert(tool_call)
        .values(
            tenant=change.case.tenant,
            run_id=run,
            call=call,
            position=position,
            case_id=change.case.id,
            tool=tool,
            effect=effect,
            arguments_sealed=seal_json(
                cipher, RetentionClass.EXCHANGE, _tool_place("arguments_sealed", *place), dict(arguments)
            ),
            result_sealed=seal_json(cipher, RetentionClass.EXCHANGE, _tool_place("result_sealed", *place), result),
            status="done" if ok else "failed",
            started_at=change.now,
            ended_at=change.now,
        )
        .on_conflict_do_nothing()
    )
    if stored.rowcount == 1:
        return StoredResult(new=True, ok=ok)
    t = tool_call.c
    found = await change.conn.execute(
        select(t.status).where(t.tenant == change.case.tenant, t.run_id == run, t.call == call, t.position == position)
    )
    return StoredResult(new=False, ok=found.scalar_one() == "done")
