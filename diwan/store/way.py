"""The way of one case, for `diwan case show --trace`: read from the ledger and the tables, not from spans.

Spans are for operators, may be lost and are gone after weeks; this is as long as the case is. Ids, states, times and
figures only: nothing is opened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import select

from diwan.store.change import CaseRow
from diwan.store.connection import Connection
from diwan.store.entries import EntryRow, entries_of
from diwan.store.inbox import events_of
from diwan.store.tables import agent_run, case_file, model_call, outbox
from diwan.tracing.context import trace_id_of

_ENTRIES = 10_000


@dataclass(frozen=True)
class ModelCallLine:
    """One attempt. `ended_at` None: it runs, or whoever made it died."""

    step: str
    visit: int
    call: int
    attempt: int
    model: str
    engine: str
    status: str
    used: bool
    usage: dict[str, int]
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class DeliveryLine:
    """One event for one webhook. `next_at` is None once it is delivered."""

    id: str
    type: str
    webhook: str
    attempts: int
    status: str
    created_at: datetime
    delivered_at: datetime | None
    next_at: datetime | None


@dataclass(frozen=True)
class Line:
    """One entry of the ledger with what belongs to it. `effect_at`: when an event that it accepted took effect."""

    entry: EntryRow
    header: dict[str, Any]
    effect_at: datetime | None = None
    call: ModelCallLine | None = None
    deliveries: list[DeliveryLine] = field(default_factory=list[DeliveryLine])


@dataclass(frozen=True)
class Way:
    """`unanswered`: model calls that no answer is on record for."""

    trace_id: str
    rings: int
    rung_at: datetime | None
    lines: list[Line]
    unanswered: list[ModelCallLine]


async def way_of(conn: Connection, case: CaseRow) -> Way:
    """`conn` is of a snapshot."""
    entries = await entries_of(conn, case.tenant, case.id, limit=_ENTRIES)
    effects = {event.inbox_seq: event.consumed_at for event in await events_of(conn, case.tenant, case.id)}
    calls = await _calls(conn, case)
    deliveries = await _deliveries(conn, case)
    lines = [_line(entry, effects, calls, deliveries) for entry in entries]
    c = case_file.c
    rung = (await conn.execute(select(c.rings, c.rung_at).where(c.tenant == case.tenant, c.id == case.id))).one()
    trace_id = trace_id_of(case.traceparent) or next((line.header.get("trace_id", "") for line in lines), "")
    return Way(trace_id, rung.rings, rung.rung_at, lines, [call for call in calls.values() if call.ended_at is None])


def _line(
    entry: EntryRow,
    effects: dict[int, datetime | None],
    calls: dict[tuple[str, int, int, int], ModelCallLine],
    deliveries: list[DeliveryLine],
) -> Line:
    header: dict[str, Any] = orjson.loads(entry.header)
    detail = header.get("detail", {})
    accepted = entry.kind.startswith("event:") and entry.kind.endswith((":accepted", ":assigned"))
    place = (header.get("step", ""), header.get("visit", 0), detail.get("call", 0), header.get("attempt", 0))
    return Line(
        entry,
        header,
        effect_at=effects.get(detail.get("inbox_seq", 0)) if accepted else None,
        call=calls.get(place) if entry.kind.startswith("agent:model:") else None,
        # What a change announces is stored in its transaction, at its time.
        deliveries=[each for each in deliveries if each.created_at == entry.at],
    )


async def _calls(conn: Connection, case: CaseRow) -> dict[tuple[str, int, int, int], ModelCallLine]:
    r, m = agent_run.c, model_call.c
    found = await conn.execute(
        select(
            *(r.step, r.visit, m.call, m.attempt, m.model, m.engine, m.status, m.used, m.usage),
            *(m.started_at, m.ended_at),
        )
        .join_from(agent_run, model_call, (m.tenant == r.tenant) & (m.run_id == r.id))
        .where(r.tenant == case.tenant, r.case_id == case.id)
        .order_by(m.started_at)
    )
    rows: list[dict[str, Any]] = [{**row, "usage": row["usage"] or {}} for row in found.mappings()]
    lines = [ModelCallLine(**row) for row in rows]
    return {(line.step, line.visit, line.call, line.attempt): line for line in lines}


async def _deliveries(conn: Connection, case: CaseRow) -> list[DeliveryLine]:
    o = outbox.c
    found = await conn.execute(
        select(o.id, o.type, o.webhook_id, o.attempts, o.last_status, o.created_at, o.delivered_at, o.next_at)
        .where(o.tenant == case.tenant, o.case_id == case.id)
        .order_by(o.created_at, o.id)
    )
    return [
        DeliveryLine(*row[:-1], next_at=None if row.delivered_at else row.next_at)  # type: ignore[misc]
        for row in found
    ]
