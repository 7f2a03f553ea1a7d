"""The ledger's list of destroyed keys, and a vault that was put back from an old copy and has lost its journal."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path

import pytest

from diwan.domain.event import PIECES_SUPPLIED, DocumentRef, FollowUp
from diwan.domain.ports import RetentionClass
from diwan.domain.task import TaskAct
from diwan.erasing import Erasures
from diwan.store import tasks
from diwan.store.database import Database
from diwan.store.destroyed_keys import destroyed_keys
from diwan.store.destroying import scopes_of
from diwan.store.intake import accept_event
from diwan.vault import copies, database, keyfile
from diwan.vault.keystore import KeyStore
from tests.cli.conftest import DiwanProcess
from tests.cli.conftest import diwan_process as diwan_process
from tests.cli.conftest import fake as fake
from tests.store.conftest import NOW
from tests.store.test_erasure import ALL, Desk, Made
from tests.store.test_erasure import closed as closed
from tests.store.test_erasure import desk as desk
from tests.store.whole_case import drain
from tests.support.databases import TestDatabase
from tests.support.factories import CLERK, TENANT, a_document, envelope, ministry, sender
from tests.support.keyring import MemoryKeyring

pytestmark = pytest.mark.usefixtures("demo")

Filed = Callable[[str], Awaitable[None]]
Key = tuple[str, RetentionClass]


class Both:
    """The cases' keyring in memory, and beside it a vault's store that has a key for each of their scopes."""

    def __init__(self, keyring: MemoryKeyring, store: KeyStore, now: datetime) -> None:
        self._keyring, self._store, self._now = keyring, store, now

    async def destroy(
        self, tenant: str, scope: str, classes: Collection[RetentionClass], order: str
    ) -> Mapping[RetentionClass, datetime]:
        await self._keyring.destroy(tenant, scope, classes, order)
        return self._store.destroy(tenant, scope, classes, order, now=self._now)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "vault"
    made.mkdir(mode=0o700)
    database.create(made / "vault.sqlite")
    keyfile.create(made / "kek.json")
    return made


def opened(folder: Path) -> KeyStore:
    return KeyStore.open(folder / "vault.sqlite", keyfile.load(folder / "kek.json"))


@pytest.fixture
def filed(
    act: Callable[..., Awaitable[object]], web: Database, worker: Database, keyring: MemoryKeyring, now: datetime
) -> Filed:
    """Has a clerk file an event with a document in a case, which both were sealed before it was known."""

    async def file(case: str) -> None:
        data = FollowUp(note="More.", documents=[DocumentRef(name="a.txt", piece="", part="p")])
        stray = envelope("stray-of-it", type_=PIECES_SUPPLIED, subject="nowhere")
        await accept_event(web, keyring, stray, data, [a_document()], client=sender(), now=now)
        async with web.transaction(TENANT) as conn:
            task = await tasks.get_task(conn, TENANT, tasks.task_id_of(TENANT, "stray_event", stray.source, stray.id))
        await act(CLERK, task, TaskAct.EDIT, reason="Hers.", changes={"case": case})
        await drain(worker, case, now)

    return file


async def test_from_the_ledgers_list_alone_a_vault_destroys_again_what_was_destroyed(
    closed: Made,
    filed: Filed,
    desk: Desk,
    worker: Database,
    keyring: MemoryKeyring,
    now: datetime,
    demo: TestDatabase,
    folder: Path,
    tmp_path: Path,
    diwan_process: DiwanProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, part, kept = [await closed(name) for name in ("all-gone", "exchange-gone", "nothing-gone")]
    await filed(whole)
    async with worker.transaction(TENANT) as conn:
        scopes = {case: await scopes_of(conn, TENANT, case) for case in (whole, part, kept)}
    assert {scope.partition("/")[0] for scope in scopes[whole]} == {whole, "staged", "stray"}
    everything = [scope for each in scopes.values() for scope in each]
    store = opened(folder)
    for scope in everything:
        store.keys(TENANT, scope, create=True, now=now)
    store.keys("second", "theirs", create=True, now=now)
    copies.backup(folder / "vault.sqlite", tmp_path / "copy", now=now)

    await desk.approved(whole)
    await desk.approved(part, [RetentionClass.EXCHANGE])
    assert await Erasures(worker, Both(keyring, store, now), lambda: now).pass_once() == 2
    gone = destroyed_in(store, everything)
    assert gone == {(scope, each) for scope in scopes[whole] for each in ALL} | {
        (scope, RetentionClass.EXCHANGE) for scope in scopes[part]
    }
    store.close()
    await of_another_ministry(demo, now)

    (folder / "destroyed.jsonl").unlink()
    copies.restore(folder / "vault.sqlite", tmp_path / "copy", now=now)
    listed = tmp_path / "listed"
    made = diwan_process(
        *("erasure", "destroyed", "-o", str(listed), "--output", "json"),
        DIWAN_DATABASE_URL_WORKER=demo.url("diwan_worker"),
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["lines"] == len(scopes[whole]) + len(scopes[part]) + 1
    assert listed.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr("diwan.store.destroyed_keys._AT_ONCE", 1)
    async with worker.transaction(TENANT, snapshot=True) as conn:
        paged = [(each.scope, each.order) async for each in destroyed_keys(conn, TENANT)]
    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    assert paged == [(line["scope"], line["order"]) for line in lines if line["tenant"] == TENANT]
    again = diwan_process("vault", "replay", str(listed), DIWAN_VAULT_DIR=str(folder))
    assert again.returncode == 0, again.stderr

    store = opened(folder)
    assert destroyed_in(store, everything) == gone
    assert set(store.keys("second", "theirs", create=True, now=now).by_class.values()) == {None}
    orders = [json.loads(line)["order"] for line in (folder / "destroyed.jsonl").read_text().splitlines()[1:]]
    assert {order for order in orders if order != ANOTHER_ORDER} == set(keyring.orders.values())
    store.close()


ANOTHER_ORDER = "5e" * 32


async def of_another_ministry(demo: TestDatabase, now: datetime) -> None:
    """As much of an erasure there as the list looks at."""
    await ministry(demo, now=now, tenant="second")
    header = json.dumps({"detail": {"classes": ",".join(ALL)}}).encode()
    with demo.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "insert into entry (tenant, chain, seq, hash, header, kind, at) "
            "values ('second', 'theirs', 1, %s, %s, 'case:erasure:started', %s)",
            [bytes.fromhex(ANOTHER_ORDER), header, now],
        )


def destroyed_in(store: KeyStore, scopes: Collection[str]) -> set[Key]:
    return {
        (scope, each)
        for scope in scopes
        for each, key in store.keys(TENANT, scope, create=True, now=NOW).by_class.items()
        if key is None
    }
