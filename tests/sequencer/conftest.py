"""A ledger in a database, a signer with a folder of its own, and a sequencer between them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime

import pytest

from diwan.domain.actor import system
from diwan.sequencer import Sequencer
from diwan.store.database import Database
from diwan.store.entries import append_entry
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT
from tests.support.growing import ORIGIN, OwnSigner


@pytest.fixture
def signer(tmp_path_factory: pytest.TempPathFactory, database: TestDatabase) -> Iterator[OwnSigner]:
    """Of the database: tests that share one share the signer's memory of it."""
    made = OwnSigner(tmp_path_factory.getbasetemp() / f"signer-{abs(hash(database.url('postgres')))}")
    yield made
    made.memory.close()


@pytest.fixture
def sequencer(connect: Callable[[str], Database], signer: OwnSigner) -> Sequencer:
    return Sequencer(connect("diwan_sequencer"), signer, ORIGIN)


Write = Callable[..., Awaitable[None]]


@pytest.fixture
def write(worker: Database, now: datetime) -> Write:
    """Writes `count` entries on a chain outside cases, one transaction each unless `together`."""

    async def written(count: int, chain: str = "tests/one", tenant: str = TENANT, *, together: bool = True) -> None:
        if together:
            async with worker.transaction(tenant) as conn:
                for _ in range(count):
                    await append_entry(conn, tenant, chain, "tests:entry:written", system(TENANT, "test"), now=now)
        else:
            for _ in range(count):
                await written(1, chain, tenant)

    return written
