"""Keys that are no case's: each ministry's ledger says when one began and when it was destroyed, once each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest

from diwan.domain.errors import Unavailable
from diwan.domain.ports import KeyEpoch
from diwan.key_records import KeyRecords
from diwan.store.database import Database
from diwan.store.entries import entries_of
from diwan.store.ledger_check import verify_tenant
from tests.store.conftest import NOW
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT

pytestmark = pytest.mark.usefixtures("demo")

CHAIN = "configuration/keys"
LATER = NOW + timedelta(days=30)


class Vault:
    def __init__(self, *epochs: KeyEpoch) -> None:
        self.told = epochs
        self.away = False

    async def epochs(self) -> Sequence[KeyEpoch]:
        if self.away:
            raise Unavailable("vault.unavailable", "The vault does not answer.", "Try again.")
        return self.told


async def said(db: Database) -> list[tuple[str, dict[str, object]]]:
    async with db.transaction(TENANT) as conn:
        rows = await entries_of(conn, TENANT, CHAIN)
    return [(row.kind, json.loads(row.header)["detail"]) for row in rows]


@pytest.fixture
def clean(demo: TestDatabase) -> None:
    with demo.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("delete from entry where chain = %s", (CHAIN,))
        connection.execute("delete from ledger_pending where chain = %s", (CHAIN,))


@pytest.mark.usefixtures("clean")
async def test_a_key_that_wraps_cases_keys_is_on_record_when_it_begins_and_when_it_is_destroyed(
    worker: Database, now: datetime
) -> None:
    vault = Vault(KeyEpoch("kek-1", NOW))
    records = KeyRecords(worker, vault, lambda: now)
    first = ("vault:key:begun", {"key": "kek-1", "at": NOW.isoformat()})
    assert await records.pass_once() == 0, "there is no more to do at once"
    assert await said(worker) == [first]
    vault.told = (KeyEpoch("kek-1", NOW), KeyEpoch("kek-2", LATER))
    await records.pass_once()
    second = ("vault:key:begun", {"key": "kek-2", "at": LATER.isoformat()})
    assert await said(worker) == [first, second]
    vault.told = (KeyEpoch("kek-1", NOW, LATER), KeyEpoch("kek-2", LATER))
    for _ in range(2):
        await records.pass_once()
    gone = ("vault:key:retired", {"key": "kek-1", "at": LATER.isoformat()})
    assert await said(worker) == [first, second, gone]
    async with worker.transaction(TENANT) as conn:
        (entry, *_) = await entries_of(conn, TENANT, CHAIN)
    header = json.loads(entry.header)
    assert (header["actor"]["kind"], header["actor"]["subject"]) == ("system", "worker")


@pytest.mark.usefixtures("clean")
async def test_a_key_that_came_and_went_unseen_is_on_record_with_both(worker: Database, now: datetime) -> None:
    await KeyRecords(worker, Vault(KeyEpoch("kek-1", NOW, LATER)), lambda: now).pass_once()
    assert [kind for kind, _ in await said(worker)] == ["vault:key:begun", "vault:key:retired"]


@pytest.mark.usefixtures("clean")
async def test_two_workers_put_each_on_record_once(worker: Database, now: datetime) -> None:
    epochs = [KeyEpoch(f"kek-{number}", NOW) for number in range(5)]
    several = [KeyRecords(worker, Vault(*epochs), lambda: now) for _ in range(4)]
    await asyncio.gather(*(each.pass_once() for each in several))
    assert [detail["key"] for _, detail in await said(worker)] == [each.name for each in epochs]


@pytest.mark.usefixtures("clean")
async def test_a_database_of_the_vaults_that_was_put_back_takes_nothing_off_the_record(
    worker: Database, connect: Callable[[str], Database], now: datetime
) -> None:
    vault = Vault(KeyEpoch("kek-1", NOW, LATER), KeyEpoch("kek-2", LATER))
    records = KeyRecords(worker, vault, lambda: now)
    await records.pass_once()
    before = await said(worker)
    vault.told = (KeyEpoch("kek-2", LATER),)
    await records.pass_once()
    assert await said(worker) == before
    vault.away = True
    with pytest.raises(Unavailable):
        await records.pass_once()
    async with connect("diwan_auditor").transaction(TENANT, snapshot=True) as conn:
        report = await verify_tenant(conn, TENANT, chain=CHAIN)
    assert (report.entries, report.first_bad) == (3, None)
