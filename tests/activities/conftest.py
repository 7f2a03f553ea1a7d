"""A ministry in the module's database, and its office."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from diwan.documents.readers import Readers
from diwan.domain.tenant import Signatory, TenantSettings
from diwan.domain.text import Localized
from diwan.store.database import Database
from diwan.store.tenants import put_tenant
from tests.activities.office import Clock, Office
from tests.support.clocks import forget
from tests.support.databases import TestDatabase
from tests.support.factories import AUTHORITY, TENANT, ministry
from tests.support.keyring import MemoryKeyring

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)

SETTINGS = TenantSettings(
    name=Localized(ar="وزارة نموذجية", fr="Ministère d'essai", en="Ministry of tests"),
    place=Localized(ar="الرباط", fr="Rabat", en="Rabat"),
    address=Localized(ar="شارع النماذج", fr="1, avenue des Modèles", en="1 Model Avenue"),
    sample=True,
    signatories={
        AUTHORITY.subject: Signatory(
            name=Localized(ar="مدير نموذجي", fr="Directeur Modèle", en="Model Director"),
            title=Localized(ar="المدير", fr="Directeur", en="Director"),
        )
    },
)


@pytest.fixture(scope="session")
async def readers() -> AsyncIterator[Readers]:
    async with Readers(size=1) as made:
        yield made


async def furnish(database: TestDatabase) -> None:
    """The tenant `demo`, its letters' head and its signatory."""
    await ministry(database, now=NOW)
    owner = Database.connect(database.url("diwan_owner"), role="diwan_owner", pool_size=1)
    try:
        async with owner.transaction(TENANT) as conn:
            await put_tenant(conn, TENANT, SETTINGS.model_dump(mode="json"))
    finally:
        await owner.dispose()


@pytest.fixture(scope="module")
async def demo(database: TestDatabase) -> TestDatabase:
    """The module's database, furnished."""
    await furnish(database)
    return database


@pytest.fixture
def office(
    demo: TestDatabase, web: Database, worker: Database, pool: Database, keyring: MemoryKeyring, readers: Readers
) -> Office:
    forget(demo, TENANT)
    return Office(demo, web, worker, pool, keyring, readers, Clock(NOW))
