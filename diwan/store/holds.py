"""Legal holds: while one is on a case, nothing of it is erased. An authority puts it on and lifts it, and says why."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from diwan.domain.actor import Actor
from diwan.domain.erasure import ErasureStatus
from diwan.domain.errors import Conflict, InvalidInput, NotFound
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import Change
from diwan.store.connection import Connection
from diwan.store.erasures import erasures_of, refuse_erased, withdraw_approvals
from diwan.store.sealing import context, seal_json
from diwan.store.tables import legal_hold

_IDS = uuid.UUID("8a1f5f2e-0d3c-5a66-8f0c-1d8a5c0b7e31")


@dataclass(frozen=True, slots=True)
class HoldRow:
    """A hold; it stands while `lifted_at` is None. Why is on the case's ledger, sealed."""

    id: str
    placed_by: str
    placed_at: datetime
    lifted_by: str
    lifted_at: datetime | None


_COLUMNS = [legal_hold.c[name] for name in HoldRow.__dataclass_fields__]


async def holds_of(conn: Connection, tenant: str, case_id: str) -> list[HoldRow]:
    """Those of a case, lifted ones too, the first first."""
    found = await conn.execute(
        select(*_COLUMNS)
        .where(legal_hold.c.tenant == tenant, legal_hold.c.case_id == case_id)
        .order_by(legal_hold.c.placed_at, legal_hold.c.id)
    )
    return [HoldRow(**row) for row in found.mappings()]


async def place_hold(change: Change, cipher: Cipher, actor: Actor, reason: str) -> HoldRow:
    """From now on nothing of the case is erased; what was approved has to be approved anew when the hold is lifted.

    A second one by the same person, while the first stands, is the first. Raises `Conflict` where keys of the case are
    being destroyed just now, `Erased` where they are.
    """
    if not reason.strip():
        raise InvalidInput("hold.reason_required", "A legal hold needs a reason.", "Give `reason`.")
    tenant, case = change.case.tenant, change.case.id
    before = await holds_of(change.conn, tenant, case)
    mine = next((row for row in before if row.lifted_at is None and row.placed_by == actor.subject), None)
    if mine is not None:
        change.unchanged()
        return mine
    erasures = await erasures_of(change.conn, tenant, case)
    if any(row.status is ErasureStatus.STARTED for row in erasures):
        raise Conflict("hold.too_late", "Keys of this case are being destroyed just now.", "See the case in a minute.")
    await refuse_erased(change.conn, change.case, RetentionClass.DECISION)
    id_ = str(uuid.uuid5(_IDS, "\x1f".join((tenant, case, str(change.version)))))
    place = context("legal_hold.reason_sealed", id_)
    await change.conn.execute(
        insert(legal_hold).values(
            tenant=tenant,
            id=id_,
            case_id=case,
            reason_sealed=seal_json(cipher, RetentionClass.DECISION, place, {"reason": reason}),
            placed_by=actor.subject,
            placed_at=change.now,
        )
    )
    withdrawn = await withdraw_approvals(change)
    change.record(
        "case:hold:placed",
        actor,
        cipher=cipher,
        body={"reason": reason},
        detail={"hold": id_, "approvals_withdrawn": withdrawn},
    )
    return HoldRow(id_, actor.subject, change.now, "", None)


async def lift_hold(change: Change, cipher: Cipher, actor: Actor, id_: str, reason: str) -> HoldRow:
    """The hold ends. Raises `NotFound`; `Conflict` where another person lifted it."""
    if not reason.strip():
        raise InvalidInput("hold.reason_required", "To lift a legal hold needs a reason.", "Give `reason`.")
    tenant, case = change.case.tenant, change.case.id
    found = next((row for row in await holds_of(change.conn, tenant, case) if row.id == id_), None)
    if found is None:
        raise NotFound("hold.unknown", "The case has no such hold.", "See the case.")
    if found.lifted_at is not None:
        if found.lifted_by != actor.subject:
            raise Conflict("hold.lifted_before", "The hold was lifted before.", "See the case.")
        change.unchanged()
        return found
    place = context("legal_hold.lifted_because_sealed", id_)
    await change.conn.execute(
        update(legal_hold)
        .where(legal_hold.c.tenant == tenant, legal_hold.c.id == id_)
        .values(
            lifted_by=actor.subject,
            lifted_at=change.now,
            lifted_because_sealed=seal_json(cipher, RetentionClass.DECISION, place, {"reason": reason}),
        )
    )
    change.record("case:hold:lifted", actor, cipher=cipher, body={"reason": reason}, detail={"hold": id_})
    return HoldRow(id_, found.placed_by, found.placed_at, actor.subject, change.now)
