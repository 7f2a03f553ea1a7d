"""Reads cases: one by id or number, lists of them, what comes next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from diwan.domain.case import CaseStatus
from diwan.domain.errors import NotFound
from diwan.store.change import SELECT_CASE, CaseRow, case_row
from diwan.store.connection import Connection
from diwan.store.cursors import cursor_of, read_cursor


async def get_case(conn: Connection, tenant: str, key: str) -> CaseRow:
    """The case of this id or number, not locked. Raises `NotFound`."""
    case = await find_case(conn, tenant, key)
    if case is None:
        raise NotFound("case.unknown", "There is no such case.", "Check its number.")
    return case


async def find_case(conn: Connection, tenant: str, key: str) -> CaseRow | None:
    """As `get_case`, None where there is none."""
    row = (await conn.execute(_BY_KEY, {"tenant": tenant, "key": key})).mappings().one_or_none()
    return case_row(row) if row else None


async def case_of_reference(conn: Connection, tenant: str, source: str, reference: str) -> CaseRow | None:
    """The case that was opened under a source's own reference."""
    parameters = {"tenant": tenant, "source": source, "reference": reference}
    row = (await conn.execute(_BY_REFERENCE, parameters)).mappings().one_or_none()
    return case_row(row) if row else None


# A number never looks like an id (a UUID): at most one row.
_BY_KEY = text(f"{SELECT_CASE} WHERE tenant = :tenant AND (id = :key OR number = :key)")
_BY_REFERENCE = text(f"{SELECT_CASE} WHERE tenant = :tenant AND source = :source AND reference = :reference")


@dataclass(frozen=True, slots=True)
class CasePage:
    """Cases, newest first; `next` is the cursor of the page after, empty on the last."""

    cases: Sequence[CaseRow]
    next: str


async def list_cases(
    conn: Connection,
    tenant: str,
    *,
    status: CaseStatus | None = None,
    procedure: str | None = None,
    sources: Collection[str] | None = None,
    after: str = "",
    limit: int = 50,
) -> CasePage:
    """A page of cases by time of opening; `after` is the `next` of the page before.

    `sources`: only cases that one of these opened (none at all where it is empty).

    Raises `InvalidInput` for a cursor that is none of ours.
    """
    at, last = read_cursor(after) if after else (None, None)
    parameters = {
        "tenant": tenant,
        "status": status.value if status else None,
        "procedure": procedure,
        "sources": None if sources is None else sorted(sources),
        "at": at,
        "last": last,
        "limit": limit + 1,
    }
    found = [case_row(row) for row in (await conn.execute(_LIST, parameters)).mappings()]
    cases = found[:limit]
    more = len(found) > limit
    return CasePage(cases, cursor_of(cases[-1].opened_at, cases[-1].id) if more else "")


_LIST = text(
    f"{SELECT_CASE} WHERE tenant = :tenant "
    "AND (cast(:status AS text) IS NULL OR status = :status) "
    "AND (cast(:procedure AS text) IS NULL OR procedure = :procedure) "
    "AND (cast(:sources AS text[]) IS NULL OR source = ANY(cast(:sources AS text[]))) "
    "AND (cast(:at AS timestamptz) IS NULL OR (opened_at, id) < (:at, :last)) "
    "ORDER BY opened_at DESC, id DESC LIMIT :limit"
)


async def numbers_of(conn: Connection, tenant: str, ids: Collection[str]) -> dict[str, str]:
    """The numbers of these cases, by id."""
    rows = await conn.execute(_NUMBERS, {"tenant": tenant, "ids": sorted(ids)})
    return {row.id: row.number for row in rows}


_NUMBERS = text("SELECT id, number FROM case_file WHERE tenant = :tenant AND id = ANY(cast(:ids AS text[]))")


async def contents_of(conn: Connection, tenant: str, case_id: str) -> dict[str, int]:
    """What a case has come to, counted: the entry that closes it says so, and whoever reads its ledger later can tell
    whether all of that is there."""
    return dict((await conn.execute(_CONTENTS, {"tenant": tenant, "case": case_id})).mappings().one())


_COUNTED = {
    **{"events": "inbox", "documents": "document", "runs": "agent_run", "model_calls": "model_call"},
    **{"tool_calls": "tool_call", "tasks": "task", "acts": "task_act", "letters": "letter", "decisions": "decision"},
}
_EACH = "(SELECT count(*) FROM {table} WHERE tenant = :tenant AND case_id = :case) AS {name}"
_CONTENTS = text("SELECT " + ", ".join(_EACH.format(table=table, name=name) for name, table in _COUNTED.items()))
