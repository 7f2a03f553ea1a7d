"""Which credential may speak for which CloudEvents source. Set by the owner's role, read by the web."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects import postgresql

from diwan.store.connection import Connection
from diwan.store.tables import source


async def sources_of(conn: Connection, tenant: str, client: str) -> frozenset[str]:
    """The sources that a credential's subject may speak for."""
    found = await conn.execute(select(source.c.source).where(source.c.tenant == tenant, source.c.client == client))
    return frozenset(found.scalars())


async def bind_source(conn: Connection, tenant: str, source_: str, client: str) -> None:
    """Lets a credential's subject speak for a source. The owner's role only."""
    await conn.execute(
        postgresql.insert(source).values(tenant=tenant, source=source_, client=client).on_conflict_do_nothing()
    )
