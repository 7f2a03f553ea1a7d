"""Uploads that no event has named for days are removed, whatever names one meanwhile keeps it, and no entry is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import psycopg
import pytest

from diwan import metrics
from diwan.domain.errors import NotFound
from diwan.domain.event import PIECES_SUPPLIED, DocumentRef, FollowUp
from diwan.housekeeping import Uploads
from diwan.store.database import Database
from diwan.store.intake import accept_event, upload_document
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT, a_document, application, envelope, ministry, sender
from tests.support.keyring import MemoryKeyring

KEPT = timedelta(days=7)
ALL = "select (select count(*) from document), (select count(*) from blob), (select count(*) from entry)"


@pytest.fixture
def uploads(connect: Callable[[str], Database], now: datetime) -> Uploads:
    """As the relay runs it, now."""
    return Uploads(connect("diwan_relay"), lambda: now, KEPT)


@pytest.fixture(scope="module")
async def settled(database: TestDatabase) -> TestDatabase:
    await ministry(database, now=datetime.fromisoformat("2026-11-01T00:00:00+00:00"))
    return database


def counts(database: TestDatabase) -> tuple[int, int, int]:
    """Documents, their bytes, entries."""
    with database.superuser() as connection:
        row = connection.execute(ALL).fetchone()
    assert row is not None
    return row  # type: ignore[return-value]


def naming(ref: str, name: str) -> list[DocumentRef]:
    return [DocumentRef(name=f"{name}.txt", piece="sale_promise", ref=ref)]


async def test_only_old_uploads_that_no_event_named_go(
    settled: TestDatabase, web: Database, keyring: MemoryKeyring, uploads: Uploads, now: datetime
) -> None:
    old, late = now - timedelta(days=8), now - timedelta(days=6)
    named, stray, recent, _ = [
        await upload_document(web, keyring, a_document(f"content {n}"), client=sender(), now=when)
        for n, when in enumerate((old, old, late, old))
    ]
    opening = application("named", documents=naming(named, "promesse"))
    await accept_event(web, keyring, envelope("named"), opening, [], client=sender(), now=now)
    nowhere = envelope("stray", PIECES_SUPPLIED, subject="no-such-case")
    follow_up = FollowUp(documents=naming(stray, "avance"))
    await accept_event(web, keyring, nowhere, follow_up, [], client=sender(), now=now)
    documents, blobs, entries = counts(settled)
    before = metrics.UPLOADS_REMOVED.values.get((TENANT,), 0)
    assert await uploads.pass_once() == 1
    assert counts(settled) == (documents - 1, blobs - 1, entries)
    assert metrics.UPLOADS_REMOVED.values[(TENANT,)] == before + 1
    assert await uploads.pass_once() == 0
    with settled.superuser() as connection:
        left = connection.execute("select id from document where id = any(%s)", [[named, stray, recent]]).fetchall()
    assert {row[0] for row in left} == {named, stray, recent}


async def test_an_event_that_names_one_meanwhile_keeps_it(
    settled: TestDatabase, web: Database, keyring: MemoryKeyring, uploads: Uploads, now: datetime
) -> None:
    ref = await upload_document(web, keyring, a_document(), client=sender(), now=now - timedelta(days=8))
    with psycopg.connect(settled.url("diwan_web")) as naming_it:
        naming_it.execute("select set_config('diwan.tenant', %s, true)", [TENANT])
        naming_it.execute("update document set event_id = 'meanwhile' where id = %s", [ref])
        removing = asyncio.create_task(uploads.pass_once())
        await settled.until_someone_waits()
        naming_it.commit()
    assert await removing == 0
    with settled.superuser() as connection:
        assert connection.execute("select event_id from document where id = %s", [ref]).fetchone() == ("meanwhile",)


async def test_an_event_that_names_one_too_late_is_told_to_upload_it_again(
    settled: TestDatabase, web: Database, keyring: MemoryKeyring, uploads: Uploads, now: datetime
) -> None:
    ref = await upload_document(web, keyring, a_document(), client=sender(), now=now - timedelta(days=8))
    assert await uploads.pass_once() == 1
    late = application("late", documents=naming(ref, "promesse"))
    with pytest.raises(NotFound) as caught:
        await accept_event(web, keyring, envelope("late"), late, [], client=sender(), now=now)
    assert (caught.value.code, caught.value.remedy) == ("document.not_staged", "Upload it first.")


async def test_the_relay_removes_nothing_else(
    settled: TestDatabase, web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    """Asked for a document that an event has named, an upload of another ministry, or one that is not old."""
    named = await upload_document(web, keyring, a_document(), client=sender(), now=now - timedelta(days=8))
    opening = application("kept", documents=naming(named, "promesse"))
    await accept_event(web, keyring, envelope("kept"), opening, [], client=sender(), now=now)
    ours = await upload_document(web, keyring, a_document(), client=sender(), now=now - timedelta(days=8))
    asked = "select diwan_remove_upload(%s, %s, %s)"
    with psycopg.connect(settled.url("diwan_relay")) as relay:
        for tenant, id_, before in (
            (TENANT, named, now),
            ("other", ours, now),
            (TENANT, ours, now - timedelta(days=9)),
        ):
            assert relay.execute(asked, [tenant, id_, before]).fetchone() == (False,)
        seen = relay.execute("select id from document").fetchall()
        assert (ours,) in seen
        assert (named,) not in seen
        assert relay.execute(asked, [TENANT, ours, now]).fetchone() == (True,)
        # The ministry that the function set is gone with it.
        assert relay.execute("select current_setting('diwan.tenant', true)").fetchone() in ((None,), ("",))
    for role in ("diwan_web", "diwan_worker", "diwan_pool", "diwan_auditor"):
        with psycopg.connect(settled.url(role)) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
            other.execute(asked, [TENANT, ours, now])
