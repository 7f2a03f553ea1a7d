"""A ministry, a server that skips time, and all that carries its cases."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import pytest

from diwan.documents.readers import Readers
from diwan.store.database import Database
from tests.activities.conftest import demo, readers
from tests.activities.office import Clock, Office
from tests.legal_time.year import NOON, Year
from tests.support.clocks import forget
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT
from tests.support.keyring import MemoryKeyring

__all__ = ["demo", "readers"]


@pytest.fixture
async def year(
    demo: TestDatabase, connect: Callable[[str], Database], keyring: MemoryKeyring, readers: Readers
) -> AsyncGenerator[Year]:
    forget(demo, TENANT)
    web, worker, pool = connect("diwan_web"), connect("diwan_worker"), connect("diwan_pool")
    office = Office(demo, web, worker, pool, keyring, readers, Clock(NOON))
    async with Year.beginning(office, connect("diwan_relay")) as made:
        yield made
