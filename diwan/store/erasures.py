"""Erasing a case's data: asked for, approved by another person; each step an entry of the case's, under its lock.

What is approved is carried out by store/destroying.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import RowMapping, insert, select, text, update

from diwan.domain.actor import Actor
from diwan.domain.case import CaseStatus
from diwan.domain.erasure import WORDS, ErasureStatus, Ground, Hindrance
from diwan.domain.errors import Conflict, Erased, InvalidInput, NotFound, Refused
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import CaseRow, Change
from diwan.store.connection import Connection
from diwan.store.entries import EntryFields
from diwan.store.sealing import context, is_destroyed, seal_json
from diwan.store.tables import erasure

BY_SCHEDULE = "retention"  # who asks where a procedure's retention is over (a rule, no person)
PURPOSE = "erasure"
UNDER_WAY = (ErasureStatus.ASKED, ErasureStatus.APPROVED, ErasureStatus.STARTED)
GONE = (ErasureStatus.STARTED, ErasureStatus.DONE)


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """`decided_by` approved or declined it; `kept_until` is the last day of the retention, where that is the ground."""

    id: str
    case_id: str
    classes: list[RetentionClass]
    ground: Ground
    legal_basis: str
    kept_until: date | None
    status: ErasureStatus
    asked_by: str
    asked_at: datetime
    decided_by: str
    decided_at: datetime | None
    started_at: datetime | None
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be erased and why. `reason` may name people: it is sealed; `legal_basis` names a text of law."""

    classes: Collection[RetentionClass]
    ground: Ground
    legal_basis: str
    reason: str = ""
    kept_until: date | None = field(default=None)


_COLUMNS = [erasure.c[name] for name in ErasureRow.__dataclass_fields__]
_IDS = uuid.UUID("5d1c7a0a-7a54-5b8e-9d0e-4f0b1b6c2e77")


async def erasures_of(conn: Connection, tenant: str, case_id: str) -> list[ErasureRow]:
    """Those of a case, the first first."""
    found = await conn.execute(
        select(*_COLUMNS)
        .where(erasure.c.tenant == tenant, erasure.c.case_id == case_id)
        .order_by(erasure.c.asked_at, erasure.c.id)
    )
    return [erasure_row(row) for row in found.mappings()]


async def get_erasure(conn: Connection, tenant: str, id_: str) -> ErasureRow:
    """Raises `NotFound`."""
    found = await conn.execute(select(*_COLUMNS).where(erasure.c.tenant == tenant, erasure.c.id == id_))
    row = found.mappings().one_or_none()
    if row is None:
        raise NotFound("erasure.unknown", "There is no such erasure.", "See: diwan erasure list")
    return erasure_row(row)


def erased_classes(rows: Sequence[ErasureRow]) -> set[RetentionClass]:
    """Classes whose keys are destroyed, or being destroyed."""
    return {retention for row in rows if row.status in GONE for retention in row.classes}


async def erased_of(conn: Connection, case: CaseRow) -> set[RetentionClass]:
    """As `erased_classes`, of a case; an open one has none and is not asked about."""
    if case.status is not CaseStatus.CLOSED:
        return set()
    return erased_classes(await erasures_of(conn, case.tenant, case.id))


async def refuse_erased(conn: Connection, case: CaseRow, *classes: RetentionClass) -> None:
    """Under the case's lock: raises `Erased` where nothing more can be sealed under one of these classes.

    A process may still have a key in memory that is destroyed: what it would seal with it nobody could ever open.
    """
    gone = await erased_of(conn, case) & set(classes)
    if gone:
        raise Erased(
            "case.erased",
            f"What the case held is erased ({', '.join(sorted(gone))}), and nothing is added to it.",
            "Open a new case.",
        )


# What keeps a case's data from being erased now, of the row `c` of the case.
HINDERED = {
    Hindrance.HOLD: "EXISTS (SELECT FROM legal_hold h WHERE h.tenant = c.tenant AND h.case_id = c.id "
    "AND h.lifted_at IS NULL)",
    Hindrance.OPEN: "c.status <> 'closed'",
    Hindrance.INBOX: "c.inbox_last > c.inbox_cursor",
    Hindrance.TASK: "EXISTS (SELECT FROM task t WHERE t.tenant = c.tenant AND t.case_id = c.id "
    "AND t.status IN ('open', 'claimed'))",
    Hindrance.RERUN: "EXISTS (SELECT FROM model_rerun r WHERE r.tenant = c.tenant AND r.case_id = c.id "
    "AND r.status = 'asked')",
}


async def hindrances(change: Change) -> list[Hindrance]:
    """What keeps this case's data from being erased now."""
    case = change.case
    row = (await change.conn.execute(_HINDRANCES, {"tenant": case.tenant, "case": case.id})).mappings().one()
    return [hindrance for hindrance in Hindrance if row[f"of_{hindrance.value}"]]


_HINDRANCES = text(
    f"SELECT {', '.join(f'{said} AS of_{hindrance.value}' for hindrance, said in HINDERED.items())} "  # noqa: S608
    "FROM case_file c WHERE c.tenant = :tenant AND c.id = :case"
)


# --- asked for, decided -----------------------------------------------------------------------------------------------


async def ask_erasure(change: Change, cipher: Cipher, actor: Actor, wanted: Wanted) -> ErasureRow:
    """Asks for it, with its entry; what this actor asked for before, unchanged, where that is still under way.

    Raises `Conflict` where the case is open or another is under way, `Erased` where it is done, `InvalidInput`. Where
    the keys are gone already, as after a restore of the database, the reason is not kept.
    """
    classes = [retention for retention in RetentionClass if retention in set(wanted.classes)]
    before = await erasures_of(change.conn, change.case.tenant, change.case.id)
    same = next((row for row in before if _same(row, classes, wanted, actor)), None)
    if same is not None:
        change.unchanged()
        return same
    _check_wanted(change, classes, wanted, before)
    id_ = str(uuid.uuid5(_IDS, "\x1f".join((change.case.tenant, change.case.id, str(change.version)))))
    sealing = _sealing(cipher)
    place = context("erasure.reason_sealed", id_)
    values: dict[str, Any] = {
        "tenant": change.case.tenant,
        "id": id_,
        "case_id": change.case.id,
        "classes": [retention.value for retention in classes],
        "ground": wanted.ground.value,
        "legal_basis": wanted.legal_basis,
        "reason_sealed": seal_json(sealing, RetentionClass.DECISION, place, {"reason": wanted.reason})
        if sealing is not None and wanted.reason
        else None,
        "kept_until": wanted.kept_until,
        "asked_by": actor.subject,
        "asked_at": change.now,
    }
    await change.conn.execute(insert(erasure).values(values))
    row = await get_erasure(change.conn, change.case.tenant, id_)
    change.record("case:erasure:asked", actor, **said_of(row, sealing, wanted.reason))
    return row


def _sealing(cipher: Cipher) -> Cipher | None:
    return None if is_destroyed(cipher, RetentionClass.DECISION) else cipher


def _same(row: ErasureRow, classes: list[RetentionClass], wanted: Wanted, actor: Actor) -> bool:
    return row.status in UNDER_WAY and (row.classes, row.ground, row.asked_by) == (
        classes,
        wanted.ground,
        actor.subject,
    )


def _check_wanted(
    change: Change, classes: Sequence[RetentionClass], wanted: Wanted, before: Sequence[ErasureRow]
) -> None:
    if change.case.status is not CaseStatus.CLOSED:
        raise Conflict("erasure.hindered_open", *WORDS[Hindrance.OPEN])
    if not classes:
        raise InvalidInput("erasure.no_class", "It names no class of data.", "Give `classes`.")
    gone = erased_classes(before)
    if gone & set(classes):
        raise Erased("erasure.done_before", "A class that is named is erased already.", "See the case.")
    under_way = [row for row in before if row.status in UNDER_WAY and set(row.classes) & set(classes)]
    if under_way:
        raise Conflict(
            "erasure.under_way",
            f"An erasure of this case is under way: {under_way[0].id}.",
            "Have that one approved or declined first.",
        )
    # Its key seals why anything was done, and what entries commit to: it goes with the last, never before.
    if RetentionClass.DECISION in classes and not set(RetentionClass) <= gone | set(classes):
        raise InvalidInput(
            "erasure.decision_last",
            "What was decided, and why, is not erased before what it was decided on.",
            "Name evidence and exchange, too.",
        )


async def approve_erasure(change: Change, cipher: Cipher, actor: Actor, id_: str) -> ErasureRow:
    """Another person's word that it may be carried out. Raises `Refused` for who asked, `Conflict`."""
    row = await get_erasure(change.conn, change.case.tenant, id_)
    if row.decided_by == actor.subject and row.status is not ErasureStatus.DECLINED:
        change.unchanged()
        return row
    if row.status is not ErasureStatus.ASKED:
        raise _decided(row)
    if row.asked_by == actor.subject:
        raise Refused(
            "erasure.four_eyes",
            "Who asks for an erasure does not approve it.",
            "Leave it to another person (supervisor, authority).",
        )
    for hindrance in await hindrances(change):
        raise Conflict(f"erasure.hindered_{hindrance.value}", *WORDS[hindrance])
    return await _decide(change, cipher, actor, row, ErasureStatus.APPROVED, "")


async def decline_erasure(change: Change, cipher: Cipher, actor: Actor, id_: str, reason: str) -> ErasureRow:
    """It is not carried out, for a reason. Raises `Conflict` once it has begun, `InvalidInput` without a reason."""
    if not reason.strip():
        raise InvalidInput("erasure.reason_required", "To decline an erasure needs a reason.", "Give `reason`.")
    row = await get_erasure(change.conn, change.case.tenant, id_)
    if row.status is ErasureStatus.DECLINED and row.decided_by == actor.subject:
        change.unchanged()
        return row
    if row.status not in (ErasureStatus.ASKED, ErasureStatus.APPROVED):
        raise _decided(row)
    return await _decide(change, cipher, actor, row, ErasureStatus.DECLINED, reason)


async def _decide(
    change: Change, cipher: Cipher, actor: Actor, row: ErasureRow, status: ErasureStatus, reason: str
) -> ErasureRow:
    await set_erasure(change, row.id, status=status.value, decided_by=actor.subject, decided_at=change.now)
    kind = "case:erasure:approved" if status is ErasureStatus.APPROVED else "case:erasure:declined"
    change.record(kind, actor, **said_of(row, _sealing(cipher), reason))
    return await get_erasure(change.conn, change.case.tenant, row.id)


def _decided(row: ErasureRow) -> Conflict:
    return Conflict("erasure.decided", f"The erasure is {row.status.value} already.", "See: diwan erasure list")


async def withdraw_approvals(change: Change) -> int:
    """A hold has come: what was approved has to be approved anew when it is lifted. How many that were."""
    done = await change.conn.execute(
        update(erasure)
        .where(
            erasure.c.tenant == change.case.tenant,
            erasure.c.case_id == change.case.id,
            erasure.c.status == ErasureStatus.APPROVED.value,
        )
        .values(status=ErasureStatus.ASKED.value, decided_by="", decided_at=None)
    )
    return done.rowcount


async def set_erasure(change: Change, id_: str, **values: object) -> None:
    await change.conn.execute(
        update(erasure).where(erasure.c.tenant == change.case.tenant, erasure.c.id == id_).values(**values)
    )


def said_of(row: ErasureRow, cipher: Cipher | None = None, reason: str = "") -> EntryFields:
    """What its entries say. Without a cipher they commit to nothing: its key is one of those that go, or is gone."""
    detail: dict[str, str | int | bool] = {
        "erasure": row.id,
        "classes": ",".join(row.classes),
        "ground": row.ground.value,
        "asked_by": row.asked_by[:200],
    }
    if row.kept_until is not None:
        detail["kept_until"] = row.kept_until.isoformat()
    said: EntryFields = {"cipher": cipher, "purpose": PURPOSE, "legal_basis": row.legal_basis, "detail": detail}
    if reason and cipher is not None:
        said["body"] = {"reason": reason}
    return said


def erasure_row(row: RowMapping) -> ErasureRow:
    values: dict[str, Any] = dict(row)
    values["classes"] = [RetentionClass(each) for each in values["classes"]]
    values["ground"] = Ground(values["ground"])
    values["status"] = ErasureStatus(values["status"])
    return ErasureRow(**values)
