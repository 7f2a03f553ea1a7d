"""Events that go out to webhooks, at least once: stored with their cause, delivered by the relay."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql

from diwan.domain.errors import NotFound
from diwan.store.connection import Connection
from diwan.store.tables import outbox, webhook
from diwan.tracing.context import usable_traceparent

_IDS = uuid.UUID("b6d1e7a4-0c3a-5a5c-9d3e-6f0f3a1c7e21")


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One event for one webhook. `id` is the `webhook-id` of every repeat."""

    tenant: str
    id: str
    case_id: str | None
    type: str
    payload: dict[str, Any]
    webhook_id: str
    attempts: int
    created_at: datetime


async def enqueue_outbox(
    conn: Connection,
    tenant: str,
    case_id: str | None,
    type_: str,
    payload: Mapping[str, JsonValue],
    *,
    key: str,
    now: datetime,
) -> list[str]:
    """A row for each active webhook, in the transaction of what it tells; gives their ids.

    `payload` is a CloudEvent of ids and states, never personal data. The id follows from type, `key` (the step's) and
    webhook: enqueued again, nothing is added.
    """
    hooks = await conn.execute(
        select(webhook.c.id).where(webhook.c.tenant == tenant, webhook.c.active).order_by(webhook.c.id)
    )
    rows = [
        {
            "tenant": tenant,
            "id": str(uuid.uuid5(_IDS, "\x1f".join((tenant, type_, key, hook)))),
            "case_id": case_id,
            "type": type_,
            "payload": dict(payload),
            "webhook_id": hook,
            "created_at": now,
            "next_at": now,
        }
        for hook in hooks.scalars()
    ]
    if rows:
        await conn.execute(postgresql.insert(outbox).on_conflict_do_nothing(), rows)
    return [str(row["id"]) for row in rows]


def traceparent_of(row: OutboxRow) -> str:
    """The context of the case that it tells of, as its payload says (CloudEvents' distributed tracing extension)."""
    return usable_traceparent(str(row.payload.get("traceparent", "")))


_COLUMNS = [outbox.c[name] for name in OutboxRow.__dataclass_fields__]


async def due(conn: Connection, *, now: datetime, limit: int = 50) -> Sequence[OutboxRow]:
    """Undelivered rows whose time has come, locked for this transaction; what another relay has in hand is skipped."""
    found = await conn.execute(
        select(*_COLUMNS)
        .where(outbox.c.delivered_at.is_(None), outbox.c.next_at <= now)
        .order_by(outbox.c.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [OutboxRow(*row) for row in found]


async def postpone(conn: Connection, row: OutboxRow, *, next_at: datetime, status: str = "") -> None:
    """Counts an attempt that failed, or one that is being made (then `next_at` is when to think it lost)."""
    await _update(conn, row, {"next_at": next_at, "attempts": row.attempts + 1, "last_status": status})


async def delivered(conn: Connection, row: OutboxRow, *, now: datetime, status: str) -> None:
    """The webhook answered that it has it; it is not sent again."""
    await _update(conn, row, {"delivered_at": now, "attempts": row.attempts + 1, "last_status": status})


async def _update(conn: Connection, row: OutboxRow, values: dict[str, Any]) -> None:
    done = await conn.execute(update(outbox).where(outbox.c.tenant == row.tenant, outbox.c.id == row.id).values(values))
    if done.rowcount != 1:
        raise NotFound("outbox.unknown", "There is no such outgoing event.", "")
