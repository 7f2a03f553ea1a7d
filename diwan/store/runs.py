"""Agent runs and what their tools answered. model_calls.py has the calls of models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from diwan.domain.case import step_key
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import Change
from diwan.store.sealing import context
from diwan.store.tables import agent_run, tool_call

RUNNING = "running"
FINISHED = "finished"
GAVE_UP = "gave_up"
CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class RunRow:
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


_RUN = [agent_run.c[name] for name in RunRow.__dataclass_fields__]


async def start_run(change: Change, *, step: str, visit: int, spec: str, prompts: str) -> RunRow:
    """The run of this visit of a step, made unless it is there: then `change.unchanged()` is for the caller to say."""
    run_id = step_key(change.case.id, step, visit)
    found = await get_run(change.conn, change.case.tenant, run_id)
    if found is not None:
        return found
    values: dict[str, Any] = {
        "id": run_id,
        "case_id": change.case.id,
        "step": step,
        "visit": visit,
        "spec": spec,
        "prompts": prompts,
        "status": RUNNING,
        "outcome": "",
        "calls": 0,
        "tokens": 0,
        "started_at": change.now,
        "ended_at": None,
    }
    await change.conn.execute(insert(agent_run).values(tenant=change.case.tenant, **values))
    return RunRow(**values)


async def get_run(conn: AsyncConnection, tenant: str, run_id: str) -> RunRow | None:
    """The run of this id (`step_key` of case, step, visit)."""
    found = await conn.execute(select(*_RUN).where(agent_run.c.tenant == tenant, agent_run.c.id == run_id))
    row = found.one_or_none()
    return RunRow(*row) if row else None


async def runs_of(conn: AsyncConnection, tenant: str, case_id: str) -> list[RunRow]:
    """The runs of a case, the first first."""
    found = await conn.execute(
        select(*_RUN)
        .where(agent_run.c.tenant == tenant, agent_run.c.case_id == case_id)
        .order_by(agent_run.c.started_at, agent_run.c.id)
    )
    return [RunRow(*row) for row in found]


async def end_run(change: Change, run_id: str, *, status: str, outcome: str = "") -> bool:
    """Ends a running run; False where it had ended before (nothing is changed then). Answers that come later are
    stored and never used."""
    done = await change.conn.execute(
        update(agent_run)
        .where(agent_run.c.tenant == change.case.tenant, agent_run.c.id == run_id, agent_run.c.status == RUNNING)
        .values(status=status, outcome=outcome, ended_at=change.now)
    )
    return done.rowcount == 1


@dataclass(frozen=True, slots=True)
class ToolResult:
    """`result` as given to the model; status done | refused | failed."""

    call: int
    position: int
    tool: str
    status: str
    arguments: bytes
    result: bytes


def _tool_place(column: str, run_id: str, call: int, position: int) -> str:
    return context(f"tool_call.{column}", run_id, call, position)


async def tool_results(conn: AsyncConnection, tenant: str, run_id: str, cipher: Cipher) -> list[ToolResult]:
    """What the tools of a run answered, in order."""
    t = tool_call.c
    rows = await conn.execute(
        select(tool_call).where(t.tenant == tenant, t.run_id == run_id).order_by(t.call, t.position)
    )
    return [
        ToolResult(
            row.call,
            row.position,
            row.tool,
            row.status,
            _open_tool(cipher, "arguments_sealed", run_id, row),
            _open_tool(cipher, "result_sealed", run_id, row),
        )
        for row in rows
    ]


def _open_tool(cipher: Cipher, column: str, run_id: str, row: Any) -> bytes:
    place = _tool_place(column, run_id, row.call, row.position)
    return cipher.open(RetentionClass.EXCHANGE, place, getattr(row, column))


async def store_tool_result(
    change: Change,
    run_id: str,
    call: int,
    position: int,
    *,
    tool: str,
    effect: str,
    arguments: bytes,
    result: bytes,
    status: str,
    cipher: Cipher,
) -> bool:
    """Stores what a tool answered, keyed by call and position; False (nothing changed) where it was stored before."""
    stored = await change.conn.execute(
        postgresql.insert(tool_call)
        .values(
            tenant=change.case.tenant,
            run_id=run_id,
            call=call,
            position=position,
            case_id=change.case.id,
            tool=tool,
            effect=effect,
            arguments_sealed=cipher.seal(
                RetentionClass.EXCHANGE, _tool_place("arguments_sealed", run_id, call, position), arguments
            ),
            result_sealed=cipher.seal(
                RetentionClass.EXCHANGE, _tool_place("result_sealed", run_id, call, position), result
            ),
            status=status,
            started_at=change.now,
            ended_at=change.now,
        )
        .on_conflict_do_nothing()
    )
    return stored.rowcount == 1
