"""Closed cases of which a class of data has been kept for as long as the procedure says, and no longer has to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import text

from diwan.domain.erasure import LONGEST_BASIS, Ground
from diwan.domain.ports import RetentionClass
from diwan.procedures.periods import Calendar
from diwan.procedures.retention import began_before, kept_until
from diwan.procedures.schema import Procedure
from diwan.store.connection import Connection
from diwan.store.erasures import Wanted

# Who declined has said why it is still needed; after so long somebody is asked again. Longer: a legal hold.
ASKED_AGAIN_AFTER = timedelta(days=90)

Place = tuple[datetime, str]  # of a case among those of its version: when it was closed, its id


@dataclass(frozen=True, slots=True)
class Over:
    """A case, and the classes of it whose time is over, each with its last day."""

    case_id: str
    last_days: Mapping[RetentionClass, date]


async def versions_closed(conn: Connection, tenant: str) -> list[str]:
    """Hashes of the versions of procedures under which there are closed cases."""
    return list((await conn.execute(_VERSIONS, {"tenant": tenant})).scalars())


@dataclass(frozen=True, slots=True)
class OverPage:
    """Where the next page goes on, None after the last. A page may be empty, and the next one not."""

    cases: Sequence[Over]
    next: Place | None


async def over(
    conn: Connection,
    tenant: str,
    hash_: str,
    procedure: Procedure,
    calendar: Calendar,
    *,
    now: datetime,
    after: Place | None = None,
    limit: int,
) -> OverPage:
    """Closed cases of a version whose retention is over, held by nobody, and not asked about; the oldest first.

    `limit` or more of them (as many as there are classes, times that, at most), each whole.
    """
    today = calendar.day_of(now)
    found: dict[Place, dict[RetentionClass, date]] = {}
    ends: list[Place] = []
    at, last = after or (None, None)
    for retention in RetentionClass:
        keep = procedure.keep(retention)
        parameters = {
            "tenant": tenant,
            "hash": hash_,
            "class": retention.value,
            "notified": keep.after == "notification",
            "before": calendar.start_of(began_before(keep, today)),
            "again": now - ASKED_AGAIN_AFTER,
            "at": at,
            "last": last,
            "limit": limit,
        }
        rows = (await conn.execute(_OVER, parameters)).all()
        for row in rows:
            found.setdefault((row.closed_at, row.id), {})[retention] = kept_until(keep, calendar.day_of(row.began))
        if len(rows) == limit:
            ends.append((rows[-1].closed_at, rows[-1].id))
    # Beyond the first of the ends a class is not known of yet: what is there comes with the next page.
    end = min(ends, default=None)
    known = {place: last_days for place, last_days in sorted(found.items()) if end is None or place <= end}
    gone = await _gone(conn, tenant, [case for _, case in known])
    whole = (Over(case, _in_order(last_days, gone.get(case, set()))) for (_, case), last_days in known.items())
    return OverPage([each for each in whole if each.last_days], end)


def _in_order(last_days: dict[RetentionClass, date], gone: set[RetentionClass]) -> dict[RetentionClass, date]:
    """The decision's key goes with the last, or after it (erasures.py)."""
    if set(RetentionClass) <= gone | set(last_days):
        return last_days
    return {retention: day for retention, day in last_days.items() if retention is not RetentionClass.DECISION}


def wanted_of(each: Over, procedure: Procedure) -> Wanted:
    """What the schedule proposes, by the text that the procedure names, in the law's language."""
    texts: list[str] = []
    for retention in each.last_days:
        basis = procedure.keep(retention).legal_basis
        said = getattr(basis, procedure.law_language) if basis else ""
        if said and said not in texts:
            texts.append(said)
    return Wanted(
        classes=tuple(each.last_days),
        ground=Ground.RETENTION,
        legal_basis=_named(texts),
        kept_until=max(each.last_days.values()),
    )


def _named(texts: Sequence[str]) -> str:
    """As many texts as an entry holds, each whole; only of a version from before that was a rule, the first cut."""
    while len(texts) > 1 and len("; ".join(texts)) > LONGEST_BASIS:
        texts = texts[:-1]
    named = "; ".join(texts)
    return named if len(named) <= LONGEST_BASIS else f"{named[: LONGEST_BASIS - 1]}…"


async def _gone(conn: Connection, tenant: str, cases: list[str]) -> dict[str, set[RetentionClass]]:
    rows = await conn.execute(_GONE, {"tenant": tenant, "cases": cases})
    gone: dict[str, set[RetentionClass]] = {}
    for row in rows:
        gone.setdefault(row.case_id, set()).update(RetentionClass(each) for each in row.classes)
    return gone


_VERSIONS = text(
    "SELECT DISTINCT procedure_hash FROM case_file WHERE tenant = :tenant AND closed_at IS NOT NULL ORDER BY 1"
)
_OVER = text(
    "SELECT c.closed_at, c.id, greatest(c.closed_at, (SELECT max(n.received_at) FROM notification n "
    "WHERE :notified AND n.tenant = c.tenant AND n.case_id = c.id)) AS began FROM case_file c "
    "WHERE c.tenant = :tenant AND c.procedure_hash = :hash AND c.status = 'closed' AND c.closed_at < :before "
    "AND NOT EXISTS (SELECT FROM notification n WHERE :notified AND n.tenant = c.tenant AND n.case_id = c.id "
    "AND n.received_at >= :before) "
    "AND NOT EXISTS (SELECT FROM legal_hold h WHERE h.tenant = c.tenant AND h.case_id = c.id AND h.lifted_at IS NULL) "
    "AND NOT EXISTS (SELECT FROM erasure e WHERE e.tenant = c.tenant AND e.case_id = c.id "
    "AND :class = ANY (e.classes) AND (e.status <> 'declined' OR e.decided_at > :again)) "
    'AND (cast(:at AS timestamptz) IS NULL OR (c.closed_at, c.id COLLATE "C") > (:at, :last)) '
    'ORDER BY c.closed_at, c.id COLLATE "C" LIMIT :limit'
)
_GONE = text(
    "SELECT case_id, classes FROM erasure WHERE tenant = :tenant AND case_id = ANY (cast(:cases AS text[])) "
    "AND status IN ('started', 'done')"
)
