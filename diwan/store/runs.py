"""Agent runs: one for each visit of a step, how it ended, what it used. Its calls are in calls.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from diwan.domain.case import step_key
from diwan.store.change import Change
from diwan.store.connection import Connection
from diwan.store.tables import agent_run, model_call

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


async def get_run(conn: Connection, tenant: str, run: str) -> RunRow | None:
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


async def model_used(conn: Connection, tenant: str, case_id: str) -> str:
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
