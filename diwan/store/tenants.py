"""Ministries and where their events go. Set by the owner's role, read by the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql

from diwan.domain.errors import NotFound
from diwan.domain.tenant import KeptWithoutCase, OutsideEngine
from diwan.procedures.periods import Calendar, calendar_of
from diwan.procedures.schema import Procedure
from diwan.store.connection import Connection, Statement
from diwan.store.database import Database
from diwan.store.tables import clock_watch, webhook
from diwan.store.tables import tenant as tenant_table


async def put_tenant(conn: Connection, tenant: str, settings: dict[str, Any]) -> None:
    """Makes a tenant or replaces its settings (names in three languages, address, formats). The owner's role only."""
    new = postgresql.insert(tenant_table).values(tenant=tenant, settings=settings)
    await conn.execute(new.on_conflict_do_update(index_elements=["tenant"], set_={"settings": new.excluded.settings}))
    await conn.execute(postgresql.insert(clock_watch).values(tenant=tenant).on_conflict_do_nothing())


async def tenants(conn: Connection) -> list[str]:
    """All ministries, in a transaction without one, as the case worker: the rows of their clocks name them."""
    return list((await conn.execute(select(clock_watch.c.tenant).order_by(clock_watch.c.tenant))).scalars())


async def over_all(db: Database, once: Callable[[str], Awaitable[int]]) -> int:
    """The sum of what `once` says of every ministry, one after the other. `db` is the case worker's."""
    async with db.transaction(None) as conn:
        there = await tenants(conn)
    return sum([await once(tenant) for tenant in there])


async def settings_of(conn: Connection, tenant: str) -> dict[str, Any]:
    """The tenant's settings. Raises `NotFound`."""
    found = await conn.execute(select(tenant_table.c.settings).where(tenant_table.c.tenant == tenant))
    settings = found.scalar_one_or_none()
    if settings is None:
        raise NotFound("tenant.unknown", "There is no such ministry here.", "Check the token's tenant.")
    return settings


async def weight_of(conn: Connection, tenant: str) -> float:
    """The ministry's share of the engines, beside others'; 1 where it has said nothing."""
    found = await conn.execute(select(tenant_table.c.weight).where(tenant_table.c.tenant == tenant))
    return float(found.scalar_one_or_none() or 1.0)


async def calendar_for(conn: Connection, tenant: str, procedure: Procedure) -> Calendar:
    """The procedure's calendar with the days that the ministry itself closed or opened, as of now."""
    row = await _OWN_DAYS.row(conn, {"tenant": tenant})
    closed, opened = (row.closed, row.opened) if row else (None, None)
    return calendar_of(procedure, closed=_days(closed), opened=_days(opened))


async def outside_engines(conn: Connection, tenant: str) -> list[OutsideEngine]:
    """The ministry's policy on engines outside its perimeter, as of now; empty where it says nothing."""
    row = await _OUTSIDE_ENGINES.row(conn, {"tenant": tenant})
    return [OutsideEngine.model_validate(each) for each in (row.outside if row else None) or ()]


async def kept_without_case(conn: Connection, tenant: str) -> KeptWithoutCase:
    """For how long the ministry keeps what belongs to no case, as of now."""
    row = await _KEPT.row(conn, {"tenant": tenant})
    return KeptWithoutCase.model_validate(row.kept) if row and row.kept else KeptWithoutCase()


def _days(stored: list[str] | None) -> list[date]:
    return [date.fromisoformat(day) for day in stored or ()]


_OWN_DAYS = Statement(
    "SELECT settings->'closed_days' AS closed, settings->'opened_days' AS opened FROM tenant WHERE tenant = :tenant"
)


_KEPT = Statement("SELECT settings->'kept_without_case' AS kept FROM tenant WHERE tenant = :tenant")
_OUTSIDE_ENGINES = Statement("SELECT settings->'outside_engines' AS outside FROM tenant WHERE tenant = :tenant")


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """`secret_name`: the relay reads the signing secret from a file of that name."""

    tenant: str
    id: str
    url: str
    secret_name: str
    active: bool


async def put_webhook(conn: Connection, tenant: str, hook: WebhookRow) -> None:
    """Makes a webhook or replaces it. The owner's role only."""
    values = {"url": hook.url, "secret_name": hook.secret_name, "active": hook.active}
    new = postgresql.insert(webhook).values(tenant=tenant, id=hook.id, **values)
    await conn.execute(new.on_conflict_do_update(index_elements=["tenant", "id"], set_=values))


async def webhooks(conn: Connection) -> list[WebhookRow]:
    """The webhooks that the role sees: those of the transaction's tenant, for the relay those of all."""
    return [WebhookRow(*row) for row in await conn.execute(select(*webhook.c).order_by(webhook.c.tenant, webhook.c.id))]
