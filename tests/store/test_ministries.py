"""A ministry is set up from a file: once, on the ledger, and who could sign when is never rewritten."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import date, datetime

import pytest
from sqlalchemy import select

from diwan.domain.case import Result
from diwan.domain.tenant import DelegationGrant, Ministry, SourceBinding, TenantSettings, Webhook
from diwan.domain.text import Localized
from diwan.store.database import Database
from diwan.store.delegations import valid_delegation
from diwan.store.ministries import CHAIN, apply_ministry, is_set_up
from diwan.store.sources import sources_of
from diwan.store.tables import entry
from diwan.store.tenants import webhooks
from tests.support.databases import TestDatabase
from tests.support.factories import SUPERVISOR

TENANT = "water"
NAME = Localized(ar="وزارة", fr="Ministère", en="Ministry")
GRANT = DelegationGrant(
    id="d-1",
    subject="head",
    procedure="permit",
    results=(Result.GRANTED,),
    valid_from=date(2026, 1, 1),
    valid_to=date(2026, 12, 31),
    reference="Order 1-2026",
)
MINISTRY = Ministry(
    tenant=TENANT,
    settings=TenantSettings(name=NAME, place=NAME, address=NAME),
    sources=(SourceBinding(source="urn:portal", client="portal"),),
    delegations=(GRANT,),
    webhooks=(Webhook(id="erp", url="http://erp.example/hook", secret="erp"),),
)
MAY_DAY = date(2026, 5, 1)


@pytest.fixture
async def owner(database: TestDatabase) -> AsyncGenerator[Database]:
    made = Database.connect(database.url("diwan_owner"), role="diwan_owner", pool_size=1)
    yield made
    await made.dispose()


async def test_a_file_is_applied_once_and_on_the_ledger(owner: Database, now: datetime) -> None:
    async with owner.transaction(TENANT) as conn:
        assert not await is_set_up(conn, TENANT)
        assert await apply_ministry(conn, MINISTRY, SUPERVISOR, now=now)
    async with owner.transaction(TENANT) as conn:
        assert await is_set_up(conn, TENANT)
        assert not await apply_ministry(conn, MINISTRY, SUPERVISOR, now=now)
        assert await sources_of(conn, TENANT, "portal") == {"urn:portal"}
        assert [hook.secret_name for hook in await webhooks(conn)] == ["erp"]
        kinds = await conn.execute(select(entry.c.kind).where(entry.c.chain == CHAIN))
        assert list(kinds.scalars()) == ["ministry:configuration:applied"]


async def test_a_delegation_can_be_revoked_but_not_widened(owner: Database, now: datetime) -> None:
    wider = GRANT.model_copy(update={"valid_to": date(2030, 1, 1), "revoked_on": date(2026, 6, 1)})
    async with owner.transaction(TENANT) as conn:
        await apply_ministry(conn, MINISTRY, SUPERVISOR, now=now)
        await apply_ministry(conn, MINISTRY.model_copy(update={"delegations": (wider,)}), SUPERVISOR, now=now)
    async with owner.transaction(TENANT) as conn:

        async def holds(day: date) -> bool:
            found = await valid_delegation(conn, TENANT, "head", "permit", Result.GRANTED, None, on=day)
            return found is not None

        assert await holds(MAY_DAY)
        assert not await holds(date(2026, 6, 1))
        assert not await holds(date(2027, 1, 1))
