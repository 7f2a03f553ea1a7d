"""The inbox of a case: what came, in order; an event is consumed in the transaction of its effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import RowMapping, insert, select, update

from diwan.domain.errors import Conflict
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import Change
from diwan.store.connection import Connection
from diwan.store.sealing import context, open_json, seal_json
from diwan.store.tables import inbox

TASK_SOURCE = "task"  # a person's act; no sender may speak for it


@dataclass(frozen=True, slots=True)
class InboxRow:
    """An event as accepted. `body_of` opens `body_sealed`; `inbox_seq` is 0 where it matches no case.

    One that only repeats another under a second id (`repeats`) is in no case's inbox: it has no effect of its own.
    """

    source: str
    event_id: str
    case_id: str | None
    inbox_seq: int
    type: str
    digest: str
    body_sealed: bytes
    traceparent: str
    accepted_at: datetime
    accepted_from: str
    consumed_at: datetime | None
    consumed_by: str

    @property
    def repeats(self) -> str:
        """The id of the event, of the same source, that this one is the same application as; empty for others."""
        return self.consumed_by if self.case_id is None else ""


_COLUMNS = [inbox.c[name] for name in InboxRow.__dataclass_fields__]


def _row(row: RowMapping) -> InboxRow:
    values: dict[str, Any] = {**row, "inbox_seq": row["inbox_seq"] or 0}
    return InboxRow(**values)


def seal_body(cipher: Cipher, source: str, event_id: str, body: Mapping[str, JsonValue]) -> bytes:
    return seal_json(cipher, RetentionClass.EVIDENCE, context("inbox.body_sealed", source, event_id), body)


def body_of(row: InboxRow, cipher: Cipher) -> dict[str, Any]:
    """What the event said: `data` (domain Application or FollowUp as JSON) and `documents` (ids), or a task's outcome.

    Raises `Tampered`.
    """
    place = context("inbox.body_sealed", row.source, row.event_id)
    return open_json(cipher, RetentionClass.EVIDENCE, place, row.body_sealed)


async def insert_event(
    conn: Connection,
    tenant: str,
    *,
    source: str,
    event_id: str,
    case_id: str | None,
    inbox_seq: int | None,
    type_: str,
    digest: str,
    body_sealed: bytes,
    accepted_from: str,
    now: datetime,
    traceparent: str = "",
    consumed_by: str = "",
) -> None:
    """Stores an event; its (source, id) is unique in the tenant, its number in the case."""
    await conn.execute(
        insert(inbox).values(
            tenant=tenant,
            source=source,
            event_id=event_id,
            case_id=case_id,
            inbox_seq=inbox_seq,
            type=type_,
            digest=digest,
            body_sealed=body_sealed,
            traceparent=traceparent,
            accepted_at=now,
            accepted_from=accepted_from,
            consumed_at=now if consumed_by else None,
            consumed_by=consumed_by,
        )
    )


async def event_of(conn: Connection, tenant: str, source: str, event_id: str) -> InboxRow | None:
    """The event of this sender and id, if it was accepted."""
    found = await conn.execute(
        select(*_COLUMNS).where(inbox.c.tenant == tenant, inbox.c.source == source, inbox.c.event_id == event_id)
    )
    row = found.mappings().one_or_none()
    return _row(row) if row else None


async def opening_event(conn: Connection, tenant: str, case_id: str) -> InboxRow:
    """The event that opened the case."""
    found = await conn.execute(
        select(*_COLUMNS).where(inbox.c.tenant == tenant, inbox.c.case_id == case_id, inbox.c.inbox_seq == 1)
    )
    return _row(found.mappings().one())


async def pending(conn: Connection, tenant: str, case_id: str, cursor: int, *, limit: int = 100) -> Sequence[InboxRow]:
    """Events of the case after `cursor`, in order."""
    found = await conn.execute(
        select(*_COLUMNS)
        .where(inbox.c.tenant == tenant, inbox.c.case_id == case_id, inbox.c.inbox_seq > cursor)
        .order_by(inbox.c.inbox_seq)
        .limit(limit)
    )
    return [_row(row) for row in found.mappings()]


async def events_of(conn: Connection, tenant: str, case_id: str) -> Sequence[InboxRow]:
    """All events of a case, in order."""
    return await pending(conn, tenant, case_id, 0, limit=10_000)


async def consume(change: Change, event: InboxRow, by: str) -> None:
    """Takes the event that is next: marks it and moves the change's cursor. `by` names the effect (a step's key).

    Raises `Conflict` where it is not next or was consumed before.
    """
    if event.inbox_seq != change.cursor + 1:
        raise Conflict("inbox.out_of_order", "This event is not the next one of its case.", "Read the case again.")
    done = await change.conn.execute(
        update(inbox)
        .where(
            inbox.c.tenant == change.case.tenant,
            inbox.c.source == event.source,
            inbox.c.event_id == event.event_id,
            inbox.c.consumed_at.is_(None),
        )
        .values(consumed_at=change.now, consumed_by=by)
    )
    if done.rowcount != 1:
        raise Conflict("inbox.consumed_already", "This event took effect before.", "Read the case again.")
    change.cursor = event.inbox_seq
