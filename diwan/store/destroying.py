"""Carries out an erasure that is approved: keys are destroyed in the vault, between two commits.

`start` is on the ledger before, `finish` after. Whoever finds an erasure started goes on with it (diwan/erasing.py).
"""

from __future__ import annotations

from sqlalchemy import text

from diwan.domain.actor import system
from diwan.domain.erasure import ErasureStatus
from diwan.domain.ports import RetentionClass
from diwan.store.change import Change
from diwan.store.connection import Connection
from diwan.store.erasures import ErasureRow, get_erasure, hindrances, said_of, set_erasure


async def start_erasure(change: Change, id_: str) -> bool:
    """Approved, and nothing hinders it now: it begins, and is on the ledger. Whether its keys are to be destroyed."""
    row = await get_erasure(change.conn, change.case.tenant, id_)
    if row.status is not ErasureStatus.APPROVED or await hindrances(change):
        change.unchanged()
        return row.status is ErasureStatus.STARTED
    await set_erasure(change, id_, status=ErasureStatus.STARTED.value, started_at=change.now)
    change.record("case:erasure:started", system(change.case.tenant, "worker"), **said_of(row))
    return True


async def order_of(conn: Connection, tenant: str, row: ErasureRow) -> str:
    """The hash of the entry that says that this erasure begins: the vault keeps it with what it destroys."""
    found = await conn.execute(_STARTED, {"tenant": tenant, "case": row.case_id, "id": row.id})
    return bytes(found.scalar_one()).hex()


_STARTED = text(
    "SELECT hash FROM entry WHERE tenant = :tenant AND chain = :case AND kind = 'case:erasure:started' "
    "AND convert_from(header, 'UTF8')::jsonb -> 'detail' ->> 'erasure' = :id"
)


async def scopes_of(conn: Connection, tenant: str, case_id: str) -> list[str]:
    """Every scope of keys that sealed something of this case: its own, and those of what came before it was known."""
    staged = await conn.execute(_STAGED, {"tenant": tenant, "case": case_id})
    strays = await conn.execute(_STRAYS, {"tenant": tenant, "case": case_id})
    return [case_id, *staged.scalars(), *strays.scalars()]


# A document that was uploaded before its event was sealed under keys of its own; that ciphertext stays.
_STAGED = text("SELECT 'staged/' || id FROM document WHERE tenant = :tenant AND case_id = :case ORDER BY id")
# An event that a person filed here has the id of its task in this case's inbox (stray_events.py).
_STRAYS = text(
    "SELECT 'stray/' || i.event_id FROM inbox i JOIN task t ON t.tenant = i.tenant AND t.id = i.event_id "
    "WHERE i.tenant = :tenant AND i.case_id = :case AND i.source = 'task' AND t.case_id IS NULL ORDER BY 1"
)


async def finish_erasure(change: Change, id_: str, scopes: int) -> None:
    """The keys are destroyed: by what the people were found goes, too, with the last of them. Once."""
    tenant, case = change.case.tenant, change.case.id
    row = await get_erasure(change.conn, tenant, id_)
    if row.status is not ErasureStatus.STARTED:
        change.unchanged()
        return
    if RetentionClass.DECISION in row.classes:
        await change.conn.execute(_FORGET, {"tenant": tenant, "case": case})
    await set_erasure(change, id_, status=ErasureStatus.DONE.value, done_at=change.now)
    said = said_of(row)
    said["detail"] = {**said.get("detail", {}), "scopes": scopes}
    change.record("case:keys:destroyed", system(tenant, "worker"), **said)


_FORGET = text("SELECT diwan_forget_parties(:tenant, :case)")
