"""Notification as an act: a letter sent by a channel, received or returned, with proof."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql

from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import Change
from diwan.store.connection import Connection
from diwan.store.sealing import context
from diwan.store.tables import notification


@dataclass(frozen=True, slots=True)
class NotificationRow:
    """status: sent | received | returned."""

    id: str
    case_id: str
    letter_id: str
    channel: str
    sent_at: datetime
    received_at: datetime | None
    status: str


async def store_notification(change: Change, letter_id: str, *, channel: str) -> bool:
    """A letter goes out by a channel (`portal`, `post`, `counter`); False where it had. The time to contest runs from
    its receipt, not from here."""
    stored = await change.conn.execute(
        postgresql.insert(notification)
        .values(
            tenant=change.case.tenant,
            id=f"{letter_id}/{channel}",
            case_id=change.case.id,
            letter_id=letter_id,
            channel=channel,
            sent_at=change.now,
            status="sent",
        )
        .on_conflict_do_nothing()
    )
    return stored.rowcount == 1


async def mark_received(change: Change, cipher: Cipher, *, letter: str, proof: str, at: datetime) -> int:
    """A letter was received: when and by what proof. Gives how many notifications this completed.

    One that was received or came back before stays as it is: the first proof counts.
    """
    return await _complete(change, cipher, letter, proof, {"status": "received", "received_at": at})


async def mark_returned(change: Change, cipher: Cipher, *, letter: str, proof: str) -> int:
    """As `mark_received` for a letter that came back."""
    return await _complete(change, cipher, letter, proof, {"status": "returned"})


async def _complete(change: Change, cipher: Cipher, letter_id: str, proof: str, values: dict[str, Any]) -> int:
    n = notification.c
    place = context("notification.proof_sealed", letter_id)
    done = await change.conn.execute(
        update(notification)
        .where(n.tenant == change.case.tenant, n.case_id == change.case.id, n.letter_id == letter_id)
        .where(n.status == "sent")
        .values(proof_sealed=cipher.seal(RetentionClass.DECISION, place, proof.encode()), **values)
    )
    return done.rowcount


async def notifications_of(conn: Connection, tenant: str, case_id: str) -> list[NotificationRow]:
    """The notifications of a case, the first first."""
    n = notification.c
    rows = await conn.execute(
        select(*(n[name] for name in NotificationRow.__dataclass_fields__))
        .where(n.tenant == tenant, n.case_id == case_id)
        .order_by(n.sent_at, n.id)
    )
    return [NotificationRow(*row) for row in rows]
