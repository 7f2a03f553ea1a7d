"""Which aid was granted to a person before: the service's own decisions, found by identity token."""

from __future__ import annotations

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from diwan.domain.case import Result
from diwan.domain.party import PartyRole
from diwan.store.change import CaseRow
from diwan.store.tables import case_file, decision, party

_GRANTS = [result.value for result in (Result.GRANTED, Result.PARTLY_GRANTED, Result.CONDITIONAL)]


async def granted_elsewhere(conn: AsyncConnection, case: CaseRow, identity_token: str) -> bool:
    """Whether the holder of this token, as applicant, was granted something in another case of the same procedure."""
    found = await conn.execute(
        select(
            exists()
            .where(party.c.tenant == case.tenant, party.c.identity_token == identity_token)
            .where(party.c.role == PartyRole.APPLICANT.value, party.c.case_id != case.id)
            .where(case_file.c.tenant == case.tenant, case_file.c.id == party.c.case_id)
            .where(case_file.c.procedure == case.procedure)
            .where(decision.c.tenant == case.tenant, decision.c.case_id == party.c.case_id)
            .where(decision.c.result.in_(_GRANTS))
        )
    )
    return bool(found.scalar_one())
