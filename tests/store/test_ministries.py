"""A ministry is set up from a file: once, on the ledger, and who could sign when is never rewritten."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import date, datetime

import pytest
from pydantic import ValidationError
from sqlalchemy import select

from diwan.domain.case import Result
from diwan.domain.tenant import DelegationGrant, Ministry, SourceBinding, TenantSettings, Webhook
from diwan.domain.text import Localized
from diwan.procedures.examples import example_text
from diwan.procedures.load import load_procedure
from diwan.store.database import Database
from diwan.store.delegations import valid_delegation
from diwan.store.ministries import CHAIN, apply_ministry, is_set_up
from diwan.store.sources import sources_of
from diwan.store.tables import entry
from diwan.store.tenants import calendar_for, webhooks
from tests.support.databases import TestDatabase
from tests.support.factories import PROCEDURE, SUPERVISOR

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


async def test_days_that_the_ministry_closes_or_opens_are_on_the_ledger_each(owner: Database, now: datetime) -> None:
    async def applied(closed: list[str], opened: list[str]) -> None:
        days = {"closed_days": closed, "opened_days": opened}
        settings = TenantSettings.model_validate({**MINISTRY.settings.model_dump(), **days})
        async with owner.transaction(TENANT) as conn:
            assert await apply_ministry(conn, MINISTRY.model_copy(update={"settings": settings}), SUPERVISOR, now=now)

    async def told() -> list[tuple[str, str]]:
        async with owner.transaction(TENANT) as conn:
            found = await conn.execute(
                select(entry.c.kind, entry.c.header)
                .where(entry.c.chain == CHAIN, entry.c.kind.like("ministry:day:%"))
                .order_by(entry.c.seq)
            )
            return [(kind, json.loads(header)["detail"]["day"]) for kind, header in found]

    await applied(["2026-12-24", "2026-12-23"], ["2026-12-26"])
    first = [
        *(("ministry:day:closed", "2026-12-23"), ("ministry:day:closed", "2026-12-24")),
        ("ministry:day:opened", "2026-12-26"),
    ]
    assert await told() == first
    await applied(["2026-12-24", "2026-12-26"], [])
    assert (await told())[3:] == [("ministry:day:released", "2026-12-23"), ("ministry:day:closed", "2026-12-26")]
    async with owner.transaction(TENANT) as conn:
        calendar = await calendar_for(conn, TENANT, load_procedure(example_text(PROCEDURE)))
        assert [calendar.works(date(2026, 12, day)) for day in (23, 24, 25, 26)] == [True, False, True, False]
        assert not await apply_ministry(
            conn,
            MINISTRY.model_copy(
                update={
                    "settings": MINISTRY.settings.model_copy(
                        update={"closed_days": (date(2026, 12, 24), date(2026, 12, 26))}
                    )
                }
            ),
            SUPERVISOR,
            now=now,
        ), "applied last, whatever entries of days came after it"


@pytest.mark.parametrize(
    ("days", "said"),
    [
        ({"closed_days": ["2026-12-24"], "opened_days": ["2026-12-24"]}, "2026-12-24 cannot be both closed and opened"),
        ({"closed_days": ["2026-12-24", "2026-12-24"]}, "2026-12-24 stands twice"),
        ({"opened_days": ["2026-02-30"]}, "valid date"),
    ],
)
def test_days_that_cannot_be_are_refused(days: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TenantSettings.model_validate({**MINISTRY.settings.model_dump(), **days})


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
