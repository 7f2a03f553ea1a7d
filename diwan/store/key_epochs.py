"""What a ministry's ledger says of the keys that wrap its cases' keys: an entry when one began, one when it went."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import orjson
from sqlalchemy import text

from diwan.domain.actor import system
from diwan.domain.ports import KeyEpoch
from diwan.store.connection import Connection
from diwan.store.entries import append_entry, take_turn

CHAIN = "configuration/keys"
BEGUN = "vault:key:begun"
RETIRED = "vault:key:retired"


async def record(conn: Connection, tenant: str, epochs: Sequence[KeyEpoch], *, now: datetime) -> int:
    """Adds what the ledger does not say yet, and says how many entries that was. Each is there once, whoever records:
    what is missing is looked up again by one at a time."""
    wanted = list(_wanted(epochs))
    if not _left(wanted, await _there(conn, tenant)):
        return 0
    await take_turn(conn, tenant, CHAIN)
    left = _left(wanted, await _there(conn, tenant))
    for kind, key, at in left:
        said = {"key": key, "at": at.isoformat()}
        await append_entry(conn, tenant, CHAIN, kind, system(tenant, "worker"), now=now, detail=said)
    return len(left)


_Wanted = tuple[str, str, datetime]


def _wanted(epochs: Sequence[KeyEpoch]) -> Iterator[_Wanted]:
    for each in epochs:
        yield BEGUN, each.name, each.begun_at
        if each.retired_at is not None:
            yield RETIRED, each.name, each.retired_at


def _left(wanted: Sequence[_Wanted], there: set[tuple[str, str]]) -> list[_Wanted]:
    return [each for each in wanted if each[:2] not in there]


async def _there(conn: Connection, tenant: str) -> set[tuple[str, str]]:
    rows = await conn.execute(_SAID, {"tenant": tenant, "chain": CHAIN})
    return {(row.kind, str(orjson.loads(row.header)["detail"]["key"])) for row in rows}


_SAID = text("SELECT kind, header FROM entry WHERE tenant = :tenant AND chain = :chain")
