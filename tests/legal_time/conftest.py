"""A ministry, a server that skips time, and all that carries its cases: one for all tests, time only goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from datetime import timedelta

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


@pytest.fixture(scope="module")
async def running(demo: TestDatabase, readers: Readers) -> AsyncGenerator[Year]:
    async with AsyncExitStack() as open_:

        def connect(role: str) -> Database:
            made = Database.connect(demo.url(role), role=role)
            open_.push_async_callback(made.dispose)
            return made

        pools = (connect("diwan_web"), connect("diwan_worker"), connect("diwan_pool"))
        office = Office(demo, *pools, MemoryKeyring(), readers, Clock(NOON))
        yield await open_.enter_async_context(Year.beginning(office, connect("diwan_relay")))


@pytest.fixture
def year(running: Year) -> Year:
    """The year as it goes on, with a clock that is right and was never wrong."""
    running.office.machine.ahead = timedelta(0)
    forget(running.office.database, TENANT)
    return running
