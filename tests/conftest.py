"""Fixtures of all tests: a real Postgres (a throwaway server), migrated databases, a keyring."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings

from diwan.embedded.postgres import EmbeddedPostgres
from diwan.store.database import Database
from tests.support.databases import TestDatabase, copy_of_template, drop, make_template
from tests.support.keyring import MemoryKeyring

# How long an example takes says how busy the machine is, and nothing of what is tried.
settings.register_profile("here", deadline=None)
settings.load_profile("here")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of its own on a free loopback port, gone after the tests; its template database is migrated."""
    folder: Path = tmp_path_factory.mktemp("postgres")
    server = EmbeddedPostgres(folder / "server", secrets_dir=folder / "secrets", durable=False)
    try:
        server.start()
        make_template(server)
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres) -> Iterator[TestDatabase]:
    """A fresh migrated database for the test module."""
    made = copy_of_template(postgres)
    yield made
    drop(made)


@pytest.fixture
async def connect(database: TestDatabase) -> AsyncIterator[Callable[[str], Database]]:
    """Pools of the module's database by role, closed after the test: `connect("diwan_worker")`."""
    pools: dict[str, Database] = {}

    def pool(role: str) -> Database:
        if role not in pools:
            pools[role] = Database.connect(database.url(role), role=role, pool_size=12)
        return pools[role]

    yield pool
    closings: list[Awaitable[None]] = [made.dispose() for made in pools.values()]
    for closing in closings:
        await closing


@pytest.fixture
def web(connect: Callable[[str], Database]) -> Database:
    """The pool of the web's role."""
    return connect("diwan_web")


@pytest.fixture
def worker(connect: Callable[[str], Database]) -> Database:
    """The pool of the case worker's role."""
    return connect("diwan_worker")


@pytest.fixture
def pool(connect: Callable[[str], Database]) -> Database:
    """The pool of the pool worker's role."""
    return connect("diwan_pool")


@pytest.fixture
def keyring() -> MemoryKeyring:
    """A keyring in memory with real encryption."""
    return MemoryKeyring()


@pytest.fixture
def now() -> datetime:
    """The instant at which a test happens: a Monday morning."""
    return datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
