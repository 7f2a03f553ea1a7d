"""Aid granted by this ministry: the register that the service keeps by deciding, and by signing what it will issue."""

from __future__ import annotations

from sqlalchemy import exists, select, text

from diwan.domain.case import CaseStatus, Result
from diwan.domain.party import PartyRole
from diwan.domain.task import TaskKind
from diwan.store.change import CaseRow
from diwan.store.connection import Connection
from diwan.store.tables import case_file, decision, party, task

GRANTS = (Result.GRANTED, Result.PARTLY_GRANTED, Result.CONDITIONAL)


async def granted_elsewhere(conn: Connection, tenant: str, case_id: str, procedure: str, token: str) -> bool:
    """Whether an applicant with this identity token has a signed grant of this procedure in another case."""
    found = await conn.execute(
        select(
            exists()
            .where(
                party.c.tenant == tenant,
                party.c.identity_token == token,
                party.c.role == PartyRole.APPLICANT.value,
                party.c.case_id != case_id,
            )
            .where(
                decision.c.tenant == party.c.tenant,
                decision.c.case_id == party.c.case_id,
                decision.c.result.in_([result.value for result in GRANTS]),
            )
            .where(
                case_file.c.tenant == party.c.tenant,
                case_file.c.id == party.c.case_id,
                case_file.c.procedure == procedure,
            )
        )
    )
    return bool(found.scalar_one())


async def promised_elsewhere(conn: Connection, case: CaseRow) -> bool:
    """Whether the applicant of `case` has a grant of the same procedure in another case, issued or just signed.

    Signatures for one person take turns from here to their commit, after the case's lock: two cannot both be first.
    """
    a = party.alias("own")
    found = await conn.execute(
        select(a.c.identity_token).where(
            a.c.tenant == case.tenant, a.c.case_id == case.id, a.c.role == PartyRole.APPLICANT.value
        )
    )
    tokens = sorted({token for token in found.scalars() if token})
    for token in tokens:
        await conn.execute(_TAKE_TURN, {"turn": f"{case.tenant}\x1f{case.procedure}\x1f{token}"})
    for token in tokens:
        granted = granted_elsewhere(conn, case.tenant, case.id, case.procedure, token)
        if await granted or await _signed_elsewhere(conn, case, token):
            return True
    return False


_TAKE_TURN = text("SELECT pg_advisory_xact_lock(hashtextextended(:turn, 1))")


async def _signed_elsewhere(conn: Connection, case: CaseRow, token: str) -> bool:
    """An approved signature whose decision is about to be issued; a refusal about to be issued counts, too: wait."""
    found = await conn.execute(
        select(
            exists()
            .where(
                party.c.tenant == case.tenant,
                party.c.identity_token == token,
                party.c.role == PartyRole.APPLICANT.value,
                party.c.case_id != case.id,
            )
            .where(
                case_file.c.tenant == party.c.tenant,
                case_file.c.id == party.c.case_id,
                case_file.c.procedure == case.procedure,
                case_file.c.status != CaseStatus.CLOSED.value,
            )
            .where(
                task.c.tenant == party.c.tenant,
                task.c.case_id == party.c.case_id,
                task.c.kind == TaskKind.SIGN.value,
                task.c.outcome == "approved",
            )
        )
    )
    return bool(found.scalar_one())
