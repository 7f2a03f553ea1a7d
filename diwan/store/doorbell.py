"""Which cases have something unconsumed: envelope columns only, across tenants, for the relay's role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, case, exists, func, or_, select, text, update

from diwan.store.connection import Connection
from diwan.store.tables import case_file, clock_watch
from diwan.store.tables import tenant as ministry

# A date that a live workflow would have acted on: past this, nothing will wake the case by itself.
OVERDUE = timedelta(seconds=30)

# A case whose step the service itself carries out is rung again after so long, in case nobody does.
SILENT = timedelta(minutes=5)

# Pauses between rings for the same thing: 2, 4, 8 … s, a minute at most; after an hour of that, ten minutes (a
# workflow takes 10,000 signals in its life, and a case may be stuck for weeks).
_LONG_RUNG = 60
_PAUSE_S, _LONG_PAUSE_S = 60, 600


@dataclass(frozen=True)
class Bell:
    """A case to be rung; `rings` and `inbox_last` as they were when it was found.

    `rises` (procedures/urgency.py) and the ministry's `weight` say when it comes to be carried out among others.
    """

    tenant: str
    case: str
    rings: int
    inbox_last: int
    traceparent: str = ""
    rises: Sequence[datetime] | None = None
    weight: float = 1.0


async def cases_to_ring(conn: Connection, now: datetime, *, limit: int = 200) -> list[Bell]:
    """Cases with an unconsumed event or a date long past, not rung within their back-off, and those that are being
    worked on and were not rung for `SILENT`. What came in anew goes first, then what was not rung for longest.
    No date is past where dates stand still.

    The back-off restarts with each new event because `inbox_last` moves `rings` back to 0.
    """
    c = case_file.c
    unconsumed = c.inbox_last > c.inbox_cursor
    stands_still = exists(
        select(clock_watch.c.tenant).where(clock_watch.c.tenant == c.tenant, clock_watch.c.stands_at < c.wake_at)
    )
    overdue = and_(c.wake_at < now - OVERDUE, ~stands_still)
    # Somebody should be working on it: if its workflow is gone (Temporal's data lost), only this brings it back. A
    # ring that was not marked (the relay died after it) leaves no time of a ring: then that of the opening counts.
    working = and_(text("kind IN ('act', 'agent')"), func.coalesce(c.rung_at, c.opened_at) < now - SILENT)
    longest = case((c.rings > _LONG_RUNG, _LONG_PAUSE_S), else_=_PAUSE_S)
    pause = func.make_interval(0, 0, 0, 0, 0, 0, func.least(longest, func.power(2, func.least(c.rings, 10))))
    rested = or_(c.rung_at.is_(None), c.rung_at + pause < now, c.rings == 0)
    share = select(ministry.c.weight).where(ministry.c.tenant == c.tenant).scalar_subquery()
    found = await conn.execute(
        select(c.tenant, c.id, c.rings, c.inbox_last, c.traceparent, c.state["rises"], share)
        # An arm for each of three partial indexes.
        .where(or_(and_(unconsumed, rested), and_(overdue, rested), working))
        .order_by(c.rings > 0, c.rung_at.nulls_first())
        .limit(limit)
    )
    return [
        Bell(tenant, case, rings, last, traceparent, instants(rises), weight or 1.0)
        for tenant, case, rings, last, traceparent, rises, weight in found
    ]


def instants(stored: Sequence[str] | None) -> list[datetime] | None:
    """Those of a list in a case's state."""
    return None if stored is None else [datetime.fromisoformat(each) for each in stored]


async def mark_rung(conn: Connection, bell: Bell, now: datetime) -> None:
    """Only when no event came in between: a ring for that one is still due."""
    c = case_file.c
    await conn.execute(
        update(case_file)
        .where(c.tenant == bell.tenant, c.id == bell.case, c.rings == bell.rings, c.inbox_last == bell.inbox_last)
        .values(rung_at=now, rings=bell.rings + 1)
    )
