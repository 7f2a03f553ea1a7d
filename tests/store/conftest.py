"""A ministry in the module's database, and a case in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from diwan.store.database import Database
from diwan.store.documents import NewDocument
from diwan.store.intake import Accepted, accept_event
from tests.support.databases import TestDatabase
from tests.support.factories import application, envelope, ministry, sender
from tests.support.keyring import MemoryKeyring

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)

Opened = Callable[..., Awaitable[str]]


@pytest.fixture(scope="module")
async def demo(database: TestDatabase) -> TestDatabase:
    """The module's database with the tenant `demo`: procedure, source and delegation."""
    await ministry(database, now=NOW)
    return database


@pytest.fixture(scope="session")
def keyring() -> MemoryKeyring:
    return MemoryKeyring()


@pytest.fixture
def open_case(demo: TestDatabase, web: Database, keyring: MemoryKeyring, now: datetime) -> Opened:
    """Opens a case by an event of that reference and gives its id."""

    async def opened(reference: str) -> str:
        accepted: Accepted = await accept_event(
            web, keyring, envelope(f"open-{reference}"), application(reference), [], client=sender(), now=now
        )
        assert accepted.case_id is not None
        return accepted.case_id

    return opened


def a_document(text: str = "Certificat modèle", **changed: str) -> NewDocument:
    return NewDocument(name="certificat.txt", data=text.encode(), media_type="text/plain", pages=1, **changed)
