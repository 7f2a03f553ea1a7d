"""Keys that are no case's, destroyed by a rule: what is over, and each step an entry on the scope's own chain.

An upload that no event named is noted here when the relay removes it; an event that a person put away, and for whom
auditors searched in a month, are over after the ministry's period. Whoever finds a scope begun goes on with it
(diwan/erasing.py): destroying again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import text, update

from diwan.domain.actor import rule, system
from diwan.domain.erasure import Ground, ScopeRule
from diwan.domain.ports import RetentionClass
from diwan.domain.task import TaskKind
from diwan.domain.tenant import Kept
from diwan.procedures.parts import Keep
from diwan.procedures.periods import months_later
from diwan.procedures.retention import began_before, kept_until
from diwan.store.connection import Connection
from diwan.store.documents import staging_scope
from diwan.store.entries import EntryFields, append_entry
from diwan.store.tables import scope_erasure
from diwan.store.tasks import stray_scope, task_id_of

STARTED = "scope:erasure:started"
DESTROYED = "scope:keys:destroyed"
BY_RULE = "retention"
PURPOSE = "erasure"

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ScopeErasure:
    """`kept_from` and `kept_until`: the first and the last day of its period; of an upload the day on which it came."""

    scope: str
    rule: ScopeRule
    kept_from: date
    kept_until: date | None = None
    started_at: datetime | None = None


def searches_scope(month: date) -> str:
    """The scope of what auditors' searches of a month seal."""
    return f"searches/{month:%Y-%m}"


async def put_away_over(
    conn: Connection, tenant: str, *, kept: Kept, now: datetime, after: str, limit: int
) -> list[ScopeErasure]:
    """Events that matched no case, put away by a person, whose period is over: a page by scope. Days are UTC's.

    One that was filed goes with its case; one that still waits for a person stays.
    """
    keep = _keep(kept)
    before = datetime.combine(began_before(keep, now.date()), time(), UTC)
    rows = await conn.execute(_PUT_AWAY, {"tenant": tenant, "before": before, "after": after, "limit": limit})
    since = [(row.id, row.completed_at.astimezone(UTC).date()) for row in rows]
    return [ScopeErasure(stray_scope(id_), ScopeRule.PUT_AWAY, day, kept_until(keep, day)) for id_, day in since]


_PUT_AWAY = text(
    "SELECT id, completed_at FROM task t WHERE tenant = :tenant AND case_id IS NULL AND kind = 'stray_event' "
    "AND status = 'completed' AND outcome <> 'assigned' AND completed_at < :before AND 'stray/' || id > :after "
    "AND NOT EXISTS (SELECT FROM scope_erasure s WHERE s.tenant = t.tenant AND s.scope = 'stray/' || t.id) "
    "ORDER BY id LIMIT :limit"
)


async def searches_over(conn: Connection, tenant: str, kept: Kept, now: datetime) -> list[ScopeErasure]:
    """Months of which it is to be forgotten for whom was searched: all since the ministry was set up."""
    first = (await conn.execute(_SET_UP, {"tenant": tenant})).scalar_one_or_none()
    if first is None:
        return []
    done = set((await conn.execute(_MONTHS, {"tenant": tenant})).scalars())
    found: list[ScopeErasure] = []
    month = first.astimezone(UTC).date().replace(day=1)
    while (until := kept_until(_keep(kept), last := months_later(month, 1) - _DAY)) < now.date():
        if searches_scope(month) not in done:
            found.append(ScopeErasure(searches_scope(month), ScopeRule.SEARCHES, last, until))
        month = months_later(month, 1)
    return found


_SET_UP = text("SELECT at FROM entry WHERE tenant = :tenant AND chain = 'configuration/ministry' AND seq = 1")
_MONTHS = text("SELECT scope FROM scope_erasure WHERE tenant = :tenant AND rule = 'searches'")


def _keep(kept: Kept) -> Keep:
    return Keep(length=kept.months, unit="months")


async def under_way(conn: Connection, tenant: str, *, after: str, limit: int) -> list[ScopeErasure]:
    """What is begun, and uploads that were removed: a page by scope."""
    rows = await conn.execute(_UNDER_WAY, {"tenant": tenant, "after": after, "limit": limit})
    return [ScopeErasure(row.scope, ScopeRule(row.rule), *row[2:]) for row in rows]


_UNDER_WAY = text(
    "SELECT scope, rule, kept_from, kept_until, started_at FROM scope_erasure WHERE tenant = :tenant "
    "AND done_at IS NULL AND scope > :after ORDER BY scope LIMIT :limit"
)


async def begin(conn: Connection, tenant: str, each: ScopeErasure, *, legal_basis: str, now: datetime) -> bool:
    """It is on the ledger that its keys go; whether it was not before. From here on there is no way back."""
    key = {"tenant": tenant, "scope": each.scope}
    if (await conn.execute(_NOTE, {**key, "rule": each.rule.value, **_days(each), "now": now})).rowcount == 0:
        return False
    said = _said(each, legal_basis)
    await append_entry(conn, tenant, each.scope, STARTED, rule(tenant, BY_RULE), now=now, **said)
    return True


# Of an upload the note is there since its removal.
_NOTE = text(
    "INSERT INTO scope_erasure (tenant, scope, rule, kept_from, kept_until, started_at) "
    "VALUES (:tenant, :scope, :rule, :kept_from, :kept_until, :now) ON CONFLICT (tenant, scope) "
    "DO UPDATE SET started_at = excluded.started_at WHERE scope_erasure.started_at IS NULL"
)


def _days(each: ScopeErasure) -> dict[str, date | None]:
    return {"kept_from": each.kept_from, "kept_until": each.kept_until}


async def scopes_without_case(conn: Connection, tenant: str, scope: str) -> list[str]:
    """The scope, and where it is a put away event's, those of its documents that were uploaded before it."""
    area, _, task = scope.partition("/")
    if area != "stray":
        return [scope]
    rows = await conn.execute(_DOCUMENTS, {"tenant": tenant, "task": task})
    kind = TaskKind.STRAY_EVENT.value
    of_it = sorted({row.id for row in rows if task_id_of(tenant, kind, row.source, row.event_id) == task})
    return [scope, *(staging_scope(id_) for id_ in of_it)]


# Event and task came at the same instant; which of those events it is, its task's id says.
_DOCUMENTS = text(
    "SELECT i.source, i.event_id, d.id FROM task t "
    "JOIN inbox i ON i.tenant = t.tenant AND i.accepted_at = t.created_at AND i.case_id IS NULL "
    "JOIN document d ON d.tenant = i.tenant AND d.event_id = i.event_id AND d.case_id IS NULL AND d.event_id <> '' "
    "WHERE t.tenant = :tenant AND t.id = :task"
)


async def order_of_scope(conn: Connection, tenant: str, scope: str) -> str:
    """The hash of the entry that says that the keys go: the vault keeps it with what it destroys."""
    found = await conn.execute(_ORDER, {"tenant": tenant, "scope": scope})
    return bytes(found.scalar_one()).hex()


_ORDER = text(f"SELECT hash FROM entry WHERE tenant = :tenant AND chain = :scope AND kind = '{STARTED}'")  # noqa: S608


async def finish(conn: Connection, tenant: str, each: ScopeErasure, scopes: Sequence[str], *, now: datetime) -> bool:
    """Its keys are destroyed, and the ledger says so; once."""
    mine = (scope_erasure.c.tenant == tenant, scope_erasure.c.scope == each.scope, scope_erasure.c.done_at.is_(None))
    if (await conn.execute(update(scope_erasure).where(*mine).values(done_at=now))).rowcount == 0:
        return False
    said = _said(each, "")
    said["detail"] = {**said.get("detail", {}), "scopes": len(scopes)}
    await append_entry(conn, tenant, each.scope, DESTROYED, system(tenant, "worker"), now=now, **said)
    return True


def _said(each: ScopeErasure, legal_basis: str) -> EntryFields:
    """It commits to nothing: the keys that it would be sealed under go."""
    detail: dict[str, Any] = {
        "classes": ",".join(retention.value for retention in RetentionClass),
        "ground": Ground.RETENTION.value,
        "rule": each.rule.value,
        "kept_from": each.kept_from.isoformat(),
    }
    if each.kept_until is not None:
        detail["kept_until"] = each.kept_until.isoformat()
    return {"purpose": PURPOSE, "legal_basis": legal_basis, "detail": detail}
