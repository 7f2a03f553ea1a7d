"""What auditors search the ledger by: out of the entries' headers, beside them, filled by whoever searches.

Nobody waits for it who writes an entry. Entries come into it in the order of their places in the log, and it remembers
how far it reaches; what has no place yet is not in it (docs/adr/0025-an-index-that-searches-fill.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Row, text

from diwan.domain.errors import Unavailable
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.store.tables import ledger_index

_BATCH = 5_000
# A search that finds more to be taken in gives up after so many, keeps what it has, and is asked again.
_MOST = 200_000


@dataclass(frozen=True, slots=True)
class Indexed:
    """What an entry is found by. Empty: it says nothing of it."""

    at: datetime
    kind: str
    actor: str
    case_of: str
    tool: str
    model: str
    procedure_hash: str
    overridden: bool


def indexed(header: bytes, kind: str, at: datetime) -> Indexed:
    """Of a stored header; of one that is none (`ledger verify` names it) what its row says."""
    try:
        said: Any = orjson.loads(header)
        detail: Any = said.get("detail") or {}
        model: Any = said.get("model") or {}
        approval: Any = said.get("approval") or {}
        return Indexed(
            at=at,
            kind=kind,
            actor=str(said["actor"]["subject"]),
            case_of=str(said.get("case") or detail.get("case") or ""),
            tool=str(detail.get("tool") or ""),
            model=str(model.get("name") or ""),
            procedure_hash=str(said.get("procedure_hash") or ""),
            overridden=bool(approval.get("overridden")),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return Indexed(at, kind, "", "", "", "", "", overridden=False)


async def catch_up(db: Database, tenant: str) -> None:
    """Takes in whatever has got its place since the last search, a batch a transaction.

    Raises `Unavailable` (`ledger.index_behind`) after many: what was taken in stays, so asking again comes to an end.
    """
    for _ in range(_MOST // _BATCH):
        async with db.transaction(tenant) as conn:
            if not await take_in(conn, tenant, at_most=_BATCH):
                return
    raise Unavailable(
        "ledger.index_behind", "The ledger's index is still taking in what was written.", "Ask again: it goes on."
    )


async def take_in(conn: Connection, tenant: str, *, at_most: int) -> bool:
    """Takes in the next entries of the ministry; whether there may be more. Takers take turns, shard by shard."""
    behind = (await conn.execute(_BEHIND, {"tenant": tenant})).first()
    if behind is None:
        return False
    key = {"tenant": tenant, "shard": behind.name}
    await conn.execute(_BEGIN, key)
    reach = (await conn.execute(_LOCK, key)).scalar_one()
    rows = (await conn.execute(_LEAVES, {**key, "reach": reach, "size": behind.size, "limit": at_most})).all()
    if rows:
        await conn.execute(_TAKE_IN, {**key, **_columns(rows)})
    reach = rows[-1].idx + 1 if len(rows) == at_most else max(reach, behind.size)
    await conn.execute(_REACHES, {**key, "reach": reach})
    return True


def _columns(rows: Sequence[Row[Any]]) -> dict[str, list[Any]]:
    found = [indexed(row.header, row.kind, row.at) for row in rows]
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in ("idx", "chain", "seq")}
    return columns | {name: [getattr(each, name) for each in found] for name in Indexed.__dataclass_fields__}


_BEHIND = text(
    "SELECT s.name, s.size FROM ledger_shard s LEFT JOIN ledger_index_reach r "
    "ON r.tenant = :tenant AND r.shard = s.name WHERE s.size > coalesce(r.reach, 0) ORDER BY s.opened_at LIMIT 1"
)
_BEGIN = text("INSERT INTO ledger_index_reach VALUES (:tenant, :shard, 0) ON CONFLICT DO NOTHING")
_LOCK = text("SELECT reach FROM ledger_index_reach WHERE tenant = :tenant AND shard = :shard FOR UPDATE")
_LEAVES = text(
    "SELECT l.idx, e.chain, e.seq, e.kind, e.at, e.header FROM ledger_leaf l JOIN entry e USING (tenant, chain, seq) "
    "WHERE l.tenant = :tenant AND l.shard = :shard AND l.idx >= :reach AND l.idx < :size ORDER BY l.idx LIMIT :limit"
)
_TYPES = {
    "idx": "bigint",
    "seq": "bigint",
    "at": "timestamptz",
    "overridden": "boolean",
}
_NAMES = [column.name for column in ledger_index.columns if column.name not in ("tenant", "shard")]
_TAKE_IN = text(
    f"INSERT INTO ledger_index (tenant, shard, {', '.join(_NAMES)}) SELECT :tenant, :shard, * FROM unnest("  # noqa: S608
    + ", ".join(f"cast(:{name} AS {_TYPES.get(name, 'text')}[])" for name in _NAMES)
    + ")"
)
_REACHES = text("UPDATE ledger_index_reach SET reach = :reach WHERE tenant = :tenant AND shard = :shard")


@dataclass(frozen=True, slots=True)
class Reach:
    """How far searches see: to the leaf before `index` of the newest shard. `waiting` entries (at most `COUNTED` are
    counted) have no place yet."""

    shard: str
    index: int
    waiting: int


COUNTED = 10_000


async def reach_of(conn: Connection, tenant: str) -> Reach:
    row = (await conn.execute(_REACH, {"tenant": tenant, "most": COUNTED})).one()
    return Reach(row.shard or "", row.reach or 0, row.waiting)


_REACH = text(
    "SELECT r.shard, r.reach, (SELECT count(*) FROM (SELECT FROM ledger_pending WHERE tenant = :tenant LIMIT :most) p) "
    "AS waiting FROM (SELECT 1) one LEFT JOIN (SELECT i.shard, i.reach FROM ledger_index_reach i "
    "JOIN ledger_shard s ON s.name = i.shard WHERE i.tenant = :tenant ORDER BY s.opened_at DESC LIMIT 1) r ON true"
)
