"""Logs that were left for one of another origin, and what of them no signed checkpoint covers.

A log that is left takes in no more. What its signer does not sign any more is placed anew: it could be proved to nobody
where it is. The database itself (migrations/sql/0027_tails.sql) moves nothing that a checkpoint covers.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from diwan.store.connection import Connection
from diwan.store.ledger_tree import Shard


@dataclass(frozen=True, slots=True)
class Tail:
    """A log as it stands, and how many of its entries a signed checkpoint covers: fewer."""

    shard: Shard
    signed: int


async def unsigned_tails(conn: Connection, origin: str) -> list[Tail]:
    """Of the logs of other origins than this, but for those opened after its own; the newest first."""
    return [Tail(Shard(*row[:4]), row.signed) for row in await conn.execute(_TAILS, {"origin": origin})]


_TAILS = text(
    "SELECT s.name, s.origin, s.size, s.root, s.signed FROM (SELECT t.*, "
    "greatest((SELECT coalesce(max(c.size), 0) FROM ledger_checkpoint c WHERE c.shard = t.name), "
    "(SELECT coalesce(max(w.size), 0) FROM ledger_cosigned w WHERE w.shard = t.name)) AS signed FROM ledger_shard t "
    "WHERE left(t.origin, length(t.origin) - 5) <> :origin AND t.opened_at < coalesce((SELECT max(o.opened_at) "
    "FROM ledger_shard o WHERE left(o.origin, length(o.origin) - 5) = :origin), 'infinity')) s "
    "WHERE s.size > s.signed ORDER BY s.opened_at DESC"
)


async def move_tail(conn: Connection, shard: str) -> int | None:
    """Has what no checkpoint covers wait for a place again; how many entries. The log was left for another, and the
    transaction has the tree locked (`open_shard`).

    None where a later entry of their chains has its place already: they would stand behind it, and stay where they are.
    """
    moved = (await conn.execute(_MOVE, {"shard": shard})).scalar_one()
    return None if moved < 0 else moved


_MOVE = text("SELECT diwan_move_tail(:shard)")


async def was_left(conn: Connection, shard: str) -> bool:
    """Whether the ledger went on in a log of another origin than this one's."""
    return bool((await conn.execute(_LEFT, {"shard": shard})).scalar_one())


_LEFT = text(
    "SELECT EXISTS (SELECT FROM ledger_shard s JOIN ledger_shard l ON l.opened_at > s.opened_at WHERE s.name = :shard "
    "AND left(l.origin, length(l.origin) - 5) <> left(s.origin, length(s.origin) - 5))"
)
