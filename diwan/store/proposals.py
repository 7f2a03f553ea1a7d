"""Proposals for a decision: each revision is kept, with who proposed it."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Row, func, insert, select

from diwan.domain.decision import Proposal
from diwan.domain.errors import NotFound
from diwan.domain.ports import Cipher, RetentionClass
from diwan.ledger.entry import SALT_BYTES, canonical, commit
from diwan.store.connection import Connection
from diwan.store.sealing import context, open_value, seal_value
from diwan.store.tables import proposal


class Salted(BaseModel):
    """What is sealed: the proposal and the salt (base64) of its commitment."""

    salt: str
    proposal: Proposal


@dataclass(frozen=True, slots=True)
class ProposalRow:
    """`commitment` may stand on the ledger and in exports: nothing can be guessed from it."""

    id: str
    revision: int
    proposer: str
    commitment: str
    proposal: Proposal
    made_at: datetime


def salted(value: Proposal) -> tuple[Salted, str]:
    """A proposal with a fresh salt, and the commitment that they make."""
    salt = secrets.token_bytes(SALT_BYTES)
    commitment = commit(salt, canonical(value.model_dump(mode="json")))
    return Salted(salt=base64.b64encode(salt).decode(), proposal=value), commitment


async def make_proposal(
    conn: Connection, tenant: str, case_id: str, value: Proposal, cipher: Cipher, *, now: datetime
) -> ProposalRow:
    """Stores the next revision, under the case's lock."""
    last = await conn.execute(
        select(func.coalesce(func.max(proposal.c.revision), 0)).where(
            proposal.c.tenant == tenant, proposal.c.case_id == case_id
        )
    )
    revision = int(last.scalar_one()) + 1
    id_ = f"{case_id}.p{revision}"
    sealed, commitment = salted(value)
    await conn.execute(
        insert(proposal).values(
            tenant=tenant,
            id=id_,
            case_id=case_id,
            revision=revision,
            proposer=value.proposer,
            proposal_sealed=seal_value(cipher, RetentionClass.DECISION, _context(id_), sealed),
            commitment=commitment,
            made_at=now,
        )
    )
    return ProposalRow(id_, revision, value.proposer, commitment, value, now)


async def get_proposal(conn: Connection, tenant: str, id_: str, cipher: Cipher) -> ProposalRow:
    """The proposal of this id. Raises `NotFound`, `Tampered`."""
    found = await conn.execute(select(proposal).where(proposal.c.tenant == tenant, proposal.c.id == id_))
    return _row(found.one_or_none(), cipher)


async def latest_proposal(conn: Connection, tenant: str, case_id: str, cipher: Cipher) -> ProposalRow:
    """The newest revision. Raises `NotFound` where nothing was proposed yet."""
    found = await conn.execute(
        select(proposal)
        .where(proposal.c.tenant == tenant, proposal.c.case_id == case_id)
        .order_by(proposal.c.revision.desc())
        .limit(1)
    )
    return _row(found.one_or_none(), cipher)


def _context(id_: str) -> str:
    return context("proposal.proposal_sealed", id_)


def _row(row: Row[Any] | None, cipher: Cipher) -> ProposalRow:
    if row is None:
        raise NotFound("proposal.unknown", "There is no such proposal.", "Read the case again.")
    sealed = open_value(cipher, RetentionClass.DECISION, _context(row.id), row.proposal_sealed, Salted)
    return ProposalRow(row.id, row.revision, row.proposer, row.commitment, sealed.proposal, row.made_at)
