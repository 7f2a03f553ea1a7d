"""The signed decision of a case: one, under a delegation that held on the day of its signature."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects import postgresql

from diwan.domain.case import Result
from diwan.domain.decision import Proposal
from diwan.domain.errors import Conflict
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import Change
from diwan.store.connection import Connection
from diwan.store.proposals import Salted, salted
from diwan.store.sealing import context, open_value, seal_value
from diwan.store.tables import decision


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """`proposal` is what was decided, as it was signed."""

    id: str
    result: Result
    signed_by: str
    delegation_id: str
    signed_at: datetime
    commitment: str
    proposal: Proposal


async def store_decision(
    change: Change,
    *,
    result: Result,
    proposal: Proposal,
    signed_by: str,
    delegation_id: str,
    signed_at: datetime,
    cipher: Cipher,
) -> str:
    """Stores the decision and gives its commitment for the entry; raises `Conflict` where the case has one.

    `signed_by` and `delegation_id` are those of the sign task's act, whose transaction checked them.
    """
    id_ = f"{change.case.id}.decision"
    sealed, commitment = salted(proposal)
    stored = await change.conn.execute(
        postgresql.insert(decision)
        .values(
            tenant=change.case.tenant,
            id=id_,
            case_id=change.case.id,
            result=result.value,
            decision_sealed=seal_value(cipher, RetentionClass.DECISION, _context(id_), sealed),
            commitment=commitment,
            signed_by=signed_by,
            delegation_id=delegation_id,
            signed_at=signed_at,
        )
        .on_conflict_do_nothing()
    )
    if stored.rowcount != 1:
        raise Conflict("decision.exists", "This case has its decision.", "Read the case again.")
    return commitment


async def decision_of(conn: Connection, tenant: str, case_id: str, cipher: Cipher) -> DecisionRow | None:
    """The decision of a case, None while there is none. Raises `Tampered`."""
    found = await conn.execute(select(decision).where(decision.c.tenant == tenant, decision.c.case_id == case_id))
    row = found.one_or_none()
    if row is None:
        return None
    sealed = open_value(cipher, RetentionClass.DECISION, _context(row.id), row.decision_sealed, Salted)
    return DecisionRow(
        *(row.id, Result(row.result), row.signed_by, row.delegation_id, row.signed_at, row.commitment),
        sealed.proposal,
    )


def _context(id_: str) -> str:
    return context("decision.decision_sealed", id_)
