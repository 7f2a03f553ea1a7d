"""Which keys the ledger says are destroyed: the list from which a vault that lost its journal destroys them again.

It is read off the entries that say that an erasure begins, of a case or by a rule. Whatever began is carried out, so
its keys are listed before the vault was asked, too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from diwan.store.connection import Connection
from diwan.store.destroying import scopes_of
from diwan.store.scope_erasures import scopes_without_case

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class DestroyedKeys:
    """A scope's keys of these classes; `order` is the hash of the entry that ordered it, in hex."""

    tenant: str
    scope: str
    classes: list[str]
    order: str
    at: datetime


async def destroyed_keys(conn: Connection, tenant: str) -> AsyncGenerator[DestroyedKeys]:
    """All of a ministry's, chain by chain; of a snapshot, so that nothing that begins meanwhile is half there."""
    after = ("", 0)
    while rows := (
        await conn.execute(
            _STARTED, {"tenant": tenant, "after_chain": after[0], "after_seq": after[1], "limit": _AT_ONCE}
        )
    ).all():
        for row in rows:
            scopes = scopes_without_case if "/" in row.chain else scopes_of
            for scope in await scopes(conn, tenant, row.chain):
                yield DestroyedKeys(tenant, scope, row.classes.split(","), bytes(row.hash).hex(), row.at)
        after = (rows[-1].chain, rows[-1].seq)


_STARTED = text(
    "SELECT chain, seq, hash, at, convert_from(header, 'UTF8')::jsonb -> 'detail' ->> 'classes' AS classes FROM entry "
    "WHERE tenant = :tenant AND (chain, seq) > (:after_chain, :after_seq) "
    "AND kind IN ('case:erasure:started', 'scope:erasure:started') "
    "ORDER BY chain, seq LIMIT :limit"
)
