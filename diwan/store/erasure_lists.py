"""Pages of erasures: what people look through, and what is to be carried out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text

from diwan.domain.erasure import ErasureStatus, Ground, ScopeRule
from diwan.store.connection import Connection
from diwan.store.cursors import cursor_of, read_cursor
from diwan.store.erasures import HINDERED, ErasureRow, erasure_row


@dataclass(frozen=True, slots=True)
class ErasurePage:
    """Erasures, the oldest first; `next` is the cursor of the page after, empty on the last."""

    erasures: Sequence[ErasureRow]
    next: str


async def list_erasures(
    conn: Connection,
    tenant: str,
    statuses: Collection[ErasureStatus],
    grounds: Collection[Ground] = tuple(Ground),
    *,
    after: str = "",
    limit: int,
) -> ErasurePage:
    """A page of those of these statuses and grounds; `after` is the `next` of the page before.

    Raises `InvalidInput` for a cursor that is none of ours.
    """
    at, last = read_cursor(after) if after else (None, None)
    parameters = {
        "tenant": tenant,
        "statuses": [status.value for status in statuses],
        "grounds": [ground.value for ground in grounds],
        "at": at,
        "last": last,
        "limit": limit + 1,
    }
    found = [erasure_row(row) for row in (await conn.execute(_LIST, parameters)).mappings()]
    rows = found[:limit]
    return ErasurePage(rows, cursor_of(rows[-1].asked_at, rows[-1].id) if len(found) > limit else "")


@dataclass(frozen=True, slots=True)
class ScopeErasureRow:
    """Keys of no case that are to be destroyed by a rule, or are (scope_erasures.py)."""

    scope: str
    rule: ScopeRule
    kept_from: date
    kept_until: date | None
    started_at: datetime | None
    done_at: datetime | None


async def list_without_case(
    conn: Connection, tenant: str, *, done: bool, after: str = "", limit: int
) -> tuple[Sequence[ScopeErasureRow], str]:
    """A page of what belongs to no case, by scope, and the scope to go on after, empty on the last.

    What is noted or under way, or what is done.
    """
    given = {"tenant": tenant, "done": done, "after": after, "limit": limit + 1}
    found = [ScopeErasureRow(row.scope, ScopeRule(row.rule), *row[2:]) for row in await conn.execute(_SCOPES, given)]
    rows = found[:limit]
    return rows, rows[-1].scope if len(found) > limit else ""


async def to_carry_out(
    conn: Connection, tenant: str, *, after: ErasureRow | None = None, limit: int
) -> list[ErasureRow]:
    """A page of what has begun, then of what is approved and nothing hinders, the oldest first.

    `after` is the last of the page before.
    """
    parameters: dict[str, object] = {"tenant": tenant, "limit": limit, "waits": None, "at": None, "last": None}
    if after is not None:
        waits = after.status is not ErasureStatus.STARTED
        parameters |= {"waits": waits, "at": after.asked_at, "last": after.id}
    found = await conn.execute(_TO_CARRY_OUT, parameters)
    return [erasure_row(row) for row in found.mappings()]


_COLUMNS = ", ".join(f"e.{name}" for name in ErasureRow.__dataclass_fields__)
_LIST = text(
    f"SELECT {_COLUMNS} FROM erasure e WHERE e.tenant = :tenant "  # noqa: S608 - names of our own columns
    "AND e.status = ANY (cast(:statuses AS text[])) AND e.ground = ANY (cast(:grounds AS text[])) "
    "AND (cast(:at AS timestamptz) IS NULL OR (e.asked_at, e.id) > (:at, :last)) "
    "ORDER BY e.asked_at, e.id LIMIT :limit"
)
_SCOPES = text(
    "SELECT scope, rule, kept_from, kept_until, started_at, done_at FROM scope_erasure WHERE tenant = :tenant "
    "AND (done_at IS NOT NULL) = :done AND scope > :after ORDER BY scope LIMIT :limit"
)
_TO_CARRY_OUT = text(
    f"SELECT {_COLUMNS} FROM erasure e "  # noqa: S608 - names and conditions of our own
    "JOIN case_file c ON c.tenant = e.tenant AND c.id = e.case_id WHERE e.tenant = :tenant "
    f"AND (e.status = 'started' OR e.status = 'approved' AND NOT ({' OR '.join(HINDERED.values())})) "
    "AND (cast(:waits AS boolean) IS NULL OR (e.status <> 'started', e.asked_at, e.id) > (:waits, :at, :last)) "
    "ORDER BY e.status <> 'started', e.asked_at, e.id LIMIT :limit"
)
