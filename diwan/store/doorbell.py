"""Which cases have something unconsumed: envelope columns only, across tenants, for the relay's role."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from diwan.domain.case import StepKind
from diwan.store.tables import case_file

# A date that a live workflow would have acted on: past this, nothing will wake the case by itself.
OVERDUE = timedelta(seconds=30)

# A case whose step the service itself carries out is rung again after so long, in case nobody does.
SILENT = timedelta(minutes=5)


@dataclass(frozen=True)
class Bell:
    tenant: str
    case: str
    rings: int


async def cases_to_ring(conn: AsyncConnection, now: datetime, *, limit: int = 200) -> list[Bell]:
    """Cases with an unconsumed event or a date long past, not rung within their back-off (1 s doubling to 60 s), and
    those that are being worked on and were not rung for `SILENT`.

    The back-off restarts with each new event because `inbox_last` moves `rings` back to 0.
    """
    unconsumed = case_file.c.inbox_last > case_file.c.inbox_cursor
    overdue = case_file.c.wake_at < now - OVERDUE
    # Somebody should be working on it: if its workflow is gone (Temporal's data lost), only this brings it back.
    working = and_(case_file.c.kind.in_([StepKind.ACT.value, StepKind.AGENT.value]), case_file.c.rung_at < now - SILENT)
    pause = func.make_interval(0, 0, 0, 0, 0, 0, func.least(60, func.power(2, func.least(case_file.c.rings, 6))))
    rested = or_(case_file.c.rung_at.is_(None), case_file.c.rung_at + pause < now, case_file.c.rings == 0)
    found = await conn.execute(
        select(case_file.c.tenant, case_file.c.id, case_file.c.rings)
        .where(or_(and_(or_(unconsumed, overdue), rested), working))
        .order_by(case_file.c.rung_at.nulls_first())
        .limit(limit)
    )
    return [Bell(tenant, case, rings) for tenant, case, rings in found]


async def mark_rung(conn: AsyncConnection, bell: Bell, now: datetime) -> None:
    """Only when no event came in between (`rings` would be 0 again): a ring for that one is still due."""
    await conn.execute(
        update(case_file)
        .where(case_file.c.tenant == bell.tenant, case_file.c.id == bell.case, case_file.c.rings == bell.rings)
        .values(rung_at=now, rings=bell.rings + 1)
    )
