"""Aid granted earlier by this ministry: the register that the service keeps by deciding."""

from __future__ import annotations

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from diwan.domain.case import Result
from diwan.domain.party import PartyRole
from diwan.store.change import CaseRow
from diwan.store.tables import case_file, decision, party

_GRANTED = [Result.GRANTED.value, Result.PARTLY_GRANTED.value, Result.CONDITIONAL.value]


async def granted_elsewhere(conn: AsyncConnection, case: CaseRow, token: str) -> bool:
    """Whether an applicant with this identity token has a signed grant of the same procedure in another case."""
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
                decision.c.tenant == party.c.tenant,
                decision.c.case_id == party.c.case_id,
                decision.c.result.in_(_GRANTED),
            )
            .where(
                case_file.c.tenant == party.c.tenant,
                case_file.c.id == party.c.case_id,
                case_file.c.procedure == case.procedure,
            )
        )
    )
    return bool(found.scalar_one())
