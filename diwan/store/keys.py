"""Stored results of steps: the same idempotency key (domain `step_key`) gives its result back and does nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from diwan.store.tables import result_of_key


async def result_of(conn: AsyncConnection, tenant: str, key: str) -> Any | None:
    """What was stored under the key, None where nothing was. Ask under the case's lock to be sure."""
    found = await conn.execute(
        select(result_of_key.c.result).where(result_of_key.c.tenant == tenant, result_of_key.c.key == key)
    )
    return found.scalar_one_or_none()


async def store_result(conn: AsyncConnection, tenant: str, case_id: str, key: str, result: Any) -> None:
    """Stores a result (JSON without personal data, not null) in the transaction of its effect."""
    await conn.execute(insert(result_of_key).values(tenant=tenant, key=key, case_id=case_id, result=result))
