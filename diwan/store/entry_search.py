"""Searches the ledger: entries by case, person, actor, tool, model, procedure version, override, kind and time.

Newest first, in pages that go on after the last one shown. What comes in meanwhile is not in the pages after the first:
a search shows what was there when it began, once each, however long it takes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Select, or_, select, tuple_

from diwan.domain.errors import InvalidInput, Tampered
from diwan.store.connection import Connection
from diwan.store.entry_index import Indexed, Reach, indexed, reach_of
from diwan.store.tables import entry, ledger_index, party, procedure_version

_i = ledger_index.c
# Cases of one person. Beyond it whoever asks narrows the search.
MOST_CASES = 1_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for: all that is said has to hold. `since` is within, `until` is not.

    `cases` and `procedures` (their hashes): any of these; None says nothing, empty finds nothing.
    """

    cases: Collection[str] | None = None
    actor: str = ""
    kind: str = ""
    tool: str = ""
    model: str = ""
    procedures: Collection[str] | None = None
    overridden: bool | None = None
    since: datetime | None = None
    until: datetime | None = None

    def digest(self) -> str:
        """What a cursor belongs to."""
        said = {name: getattr(self, name) for name in Wanted.__dataclass_fields__}
        lists = {name: None if said[name] is None else sorted(said[name]) for name in ("cases", "procedures")}
        return hashlib.sha256(orjson.dumps(said | lists)).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class FoundEntry:
    """An entry and its place in the log: `header` is what was hashed."""

    shard: str
    index: int
    chain: str
    seq: int
    hash: bytes
    header: bytes


@dataclass(frozen=True, slots=True)
class EntryPage:
    """`next` is the cursor of the page after, empty on the last; `reach` is how far the search sees."""

    entries: Sequence[FoundEntry]
    next: str
    reach: Reach


async def search(conn: Connection, tenant: str, wanted: Wanted, *, after: str = "", limit: int = 50) -> EntryPage:
    """A page of what is in the index (`catch_up` first). Raises `InvalidInput` for a cursor that is not of this search,
    `Tampered` where an entry is not what it is found by."""
    reach = await reach_of(conn, tenant)
    top_shard, top_index = reach.shard, reach.index
    query = select(ledger_index, entry.c.hash, entry.c.header, entry.c.kind.label("kind_"), entry.c.at.label("at_"))
    query = query.join_from(
        ledger_index, entry, (entry.c.tenant == _i.tenant) & (entry.c.chain == _i.chain) & (entry.c.seq == _i.seq)
    )
    query = _narrowed(query.where(_i.tenant == tenant), wanted)
    if after:
        at, shard, index, top_shard, top_index = _read(after, wanted)
        query = query.where(tuple_(_i.at, _i.shard, _i.idx) < (at, shard, index))
    # Not as a row: the planner would take the key for it, and read all there is.
    query = query.where(or_(_i.shard < top_shard, (_i.shard == top_shard) & (_i.idx < top_index)))
    query = query.order_by(_i.at.desc(), _i.shard.desc(), _i.idx.desc()).limit(limit + 1)
    rows = (await conn.execute(query)).all()
    for row in rows:
        if indexed(row.header, row.kind_, row.at_) != Indexed(*(getattr(row, n) for n in _FOUND_BY)):
            raise Tampered("ledger.index_differs", "The index says something else of an entry than the entry itself.")
    shown = [FoundEntry(row.shard, row.idx, row.chain, row.seq, row.hash, row.header) for row in rows[:limit]]
    last = rows[limit - 1] if len(rows) > limit else None
    return EntryPage(shown, _cursor(wanted, last, top_shard, top_index) if last is not None else "", reach)


_FOUND_BY = tuple(Indexed.__dataclass_fields__)


def _narrowed(query: Select[Any], wanted: Wanted) -> Select[Any]:
    if wanted.cases is not None:
        query = query.where(_i.case_of != "", _any_of(_i.case_of, wanted.cases))
    if wanted.procedures is not None:
        query = query.where(_i.procedure_hash != "", _any_of(_i.procedure_hash, wanted.procedures))
    for name in ("actor", "kind"):
        if getattr(wanted, name):
            query = query.where(_i[name] == getattr(wanted, name))
    for name in ("tool", "model"):
        if getattr(wanted, name):
            query = query.where(_i[name] != "", _i[name] == getattr(wanted, name))
    if wanted.overridden is not None:
        query = query.where(_i.overridden if wanted.overridden else ~_i.overridden)
    if wanted.since is not None:
        query = query.where(_i.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(_i.at < wanted.until)
    return query


def _any_of(column: Any, values: Collection[str]) -> Any:
    """One is asked for as one: the index then gives it in its order."""
    return column == next(iter(values)) if len(values) == 1 else column.in_(sorted(values))


def _cursor(wanted: Wanted, last: Any, shard: str, index: int) -> str:
    said = [wanted.digest(), last.at.isoformat(), last.shard, last.idx, shard, index]
    return base64.urlsafe_b64encode(orjson.dumps(said)).rstrip(b"=").decode()


def _read(cursor: str, wanted: Wanted) -> tuple[datetime, str, int, str, int]:
    try:
        said = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        digest, at, shard, index, top_shard, top_index = said
        if digest == wanted.digest() and all(type(each) is int and abs(each) < 2**63 for each in (index, top_index)):
            return datetime.fromisoformat(at), str(shard), index, str(top_shard), top_index
    except (binascii.Error, orjson.JSONDecodeError, TypeError, ValueError):
        pass
    raise InvalidInput("list.bad_cursor", "This is not a page's cursor.", "Take `next` of the page before.")


async def cases_of_person(
    conn: Connection, tenant: str, *, name_token: str = "", identity_token: str = ""
) -> list[str]:
    """Cases that have a party of this keyed pseudonym (of both, where both are said). Raises `InvalidInput` for more
    than `MOST_CASES`."""
    query = select(party.c.case_id).distinct().where(party.c.tenant == tenant)
    if name_token:
        query = query.where(party.c.name_token == name_token)
    if identity_token:
        query = query.where(party.c.identity_token == identity_token)
    found = list((await conn.execute(query.limit(MOST_CASES + 1))).scalars())
    if len(found) > MOST_CASES:
        raise InvalidInput(
            "ledger.too_many_cases", f"More than {MOST_CASES} cases have such a person.", "Say the identity number."
        )
    return found


async def procedure_hashes(conn: Connection, tenant: str, name: str, version: str = "") -> list[str]:
    """The hashes of a procedure's versions, or of one; none where it was never published."""
    query = select(procedure_version.c.hash).where(
        procedure_version.c.tenant == tenant, procedure_version.c.name == name
    )
    if version:
        query = query.where(procedure_version.c.version == version)
    return list((await conn.execute(query)).scalars())
