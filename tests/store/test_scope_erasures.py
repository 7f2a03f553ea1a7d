"""What belongs to no case: which keys a rule destroys and when, what a crash leaves, that nothing of it opens again.

With a vault's own store in place of a keyring in memory: its keys, its journal, its copies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from diwan.domain.errors import Erased, Unavailable
from diwan.domain.event import PIECES_SUPPLIED, DocumentRef, FollowUp
from diwan.domain.ports import Cipher, RetentionClass
from diwan.domain.task import ActInput, TaskAct
from diwan.domain.tenant import Kept, KeptWithoutCase
from diwan.erasing import WithoutCase
from diwan.housekeeping import Uploads
from diwan.reconcile import Reconciliation
from diwan.store import documents, tasks
from diwan.store.acts import act_on_task
from diwan.store.database import Database
from diwan.store.destroyed_keys import DestroyedKeys, destroyed_keys
from diwan.store.entries import EntryRow, append_entry, body_context, entries_of
from diwan.store.intake import accept_event, upload_document
from diwan.store.ledger_check import verify_tenant
from diwan.store.ministries import APPLIED, CHAIN
from diwan.store.scope_erasures import scopes_without_case, searches_scope
from diwan.store.sealing import context
from diwan.store.tasks import TaskRow, shown_of
from diwan.vault import copies, database, keyfile
from diwan.vault.cipher import CaseCipher
from diwan.vault.journal import Destruction
from diwan.vault.keystore import KeyStore
from tests.store.conftest import NOW, Opened, Pools
from tests.support.clocks import Machine, forget, watch_on
from tests.support.databases import TestDatabase
from tests.support.factories import AUDITOR, CLERK, SOURCE, SUPERVISOR, TENANT, a_document, envelope, sender
from tests.support.keyring import MemoryKeyring

pytestmark = pytest.mark.usefixtures("demo")

ALL = tuple(RetentionClass)
STEPS = ["scope:erasure:started", "scope:keys:destroyed"]
YEARS = timedelta(days=2 * 365 + 10)
MORE = timedelta(days=3 * 365 + 40)


@dataclass
class Vault:
    """A keyring and an eraser on the store of a vault. `dies`: before, or after, a scope's keys are destroyed."""

    folder: Path
    memory: MemoryKeyring
    now: datetime
    dies: str = ""
    fault: Exception = field(default_factory=lambda: RuntimeError("it dies"))
    refused: str = ""
    store: KeyStore = field(init=False)

    def __post_init__(self) -> None:
        self.open()

    def open(self, *, anew: bool = False) -> None:
        self.store = KeyStore.open(self.folder / "vault.sqlite", keyfile.load(self.folder / "kek.json"), anew=anew)

    async def cipher(self, tenant: str, scope: str) -> Cipher:
        return CaseCipher(tenant, scope, self.store.keys(tenant, scope, create=True, now=self.now).by_class)

    async def token(self, tenant: str, purpose: str, value: str) -> str:
        return await self.memory.token(tenant, purpose, value)

    async def destroy(
        self, tenant: str, scope: str, classes: Collection[RetentionClass], order: str
    ) -> Mapping[RetentionClass, datetime]:
        if self.dies == "before" or scope == self.refused:
            raise self.fault
        done = self.store.destroy(tenant, scope, classes, order, now=self.now)
        if self.dies:
            raise self.fault
        return done

    def gone(self, scope: str) -> bool:
        return set(self.store.keys(TENANT, scope, create=True, now=self.now).by_class.values()) == {None}

    def orders(self) -> dict[str, str]:
        """By which entry each scope's keys were destroyed, as the journal has it."""
        lines = [json.loads(line) for line in (self.folder / "destroyed.jsonl").read_text().splitlines()[1:]]
        return {line["scope"]: line["order"] for line in lines}


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """In the place of the one in memory: what opens a case takes it, too."""
    folder = tmp_path_factory.mktemp("service") / "vault"
    folder.mkdir(mode=0o700)
    database.create(folder / "vault.sqlite")
    keyfile.create(folder / "kek.json")
    made = Vault(folder, MemoryKeyring(), NOW)
    yield made
    made.store.close()


@dataclass
class Office:
    """A ministry's day, of no case."""

    db: TestDatabase
    web: Database
    worker: Database
    relay: Database
    auditor: Database
    vault: Vault
    now: datetime = NOW

    def rules(self, at: datetime, *, at_once: int = 100) -> WithoutCase:
        forget(self.db, TENANT)
        return WithoutCase(self.worker, self.vault, watch_on(Machine(lambda: at)), at_once=at_once)

    async def upload(self, text: str) -> str:
        return await upload_document(self.web, self.vault, a_document(text), client=sender(), now=self.now)

    async def put_upload_away(self, at: datetime) -> int:
        return await Uploads(self.relay, lambda: at, timedelta(days=7)).pass_once()

    async def stray(self, id_: str) -> TaskRow:
        """With a document that came with it and one that was uploaded before."""
        ref = await self.upload(f"before {id_}")
        listed = [DocumentRef(name="a.txt", part="p"), DocumentRef(name="b.txt", ref=ref)]
        data = FollowUp(note=f"Zineb, {id_}", documents=listed)
        event = envelope(id_, PIECES_SUPPLIED, subject="nowhere")
        await accept_event(self.web, self.vault, event, data, [a_document(id_)], client=sender(), now=self.now)
        async with self.web.transaction(TENANT) as conn:
            return await tasks.get_task(conn, TENANT, tasks.task_id_of(TENANT, "stray_event", SOURCE, id_))

    async def act(self, task: TaskRow, act: TaskAct, **changes: str) -> None:
        given = ActInput(digest=task.digest, reason="Nobody's.", changes=dict(changes))
        await act_on_task(self.web, self.vault, CLERK, task.id, act, given, key=act.value, now=self.now)

    async def put_away(self, id_: str) -> TaskRow:
        task = await self.stray(id_)
        await self.act(task, TaskAct.APPROVE)
        return task

    async def searched(self) -> tuple[str, bytes]:
        """The scope of an auditor's search, and what it sealed."""
        scope = searches_scope(self.now.date())
        async with self.web.transaction(TENANT) as conn:
            seq = await append_entry(
                *(conn, TENANT, "reads/auditor-1", "audit:entries:searched", AUDITOR),
                now=self.now,
                body={"person": "whoever"},
                cipher=await self.vault.cipher(TENANT, scope),
                detail={"keys": scope},
            )
        query = "select body_sealed from entry where chain = 'reads/auditor-1' and seq = %s"
        return scope, self.one(query, seq)

    def one(self, query: str, *values: str | int) -> bytes:
        with self.db.superuser() as connection:
            row = connection.execute(query.encode(), values).fetchone()
        assert row is not None
        assert isinstance(row[0], bytes)
        return row[0]

    async def told(self, scope: str) -> list[EntryRow]:
        """The entries about its keys."""
        async with self.web.transaction(TENANT) as conn:
            return [each for each in await entries_of(conn, TENANT, scope) if each.kind.startswith("scope:")]

    async def kinds(self, scope: str) -> list[str]:
        return [each.kind for each in await self.told(scope)]


@pytest.fixture(scope="module")
async def set_up(demo: TestDatabase, pools: Pools) -> TestDatabase:
    """Its months begin where its file was applied first."""
    async with pools[0].transaction(TENANT) as conn:
        await append_entry(conn, TENANT, CHAIN, APPLIED, SUPERVISOR, now=NOW)
    return demo


@pytest.fixture
def office(
    set_up: TestDatabase,
    web: Database,
    worker: Database,
    connect: Callable[[str], Database],
    keyring: Vault,
) -> Office:
    keyring.dies = ""
    return Office(set_up, web, worker, connect("diwan_relay"), connect("diwan_auditor"), keyring)


# --- what goes, and when ----------------------------------------------------------------------------------------------


async def test_an_upload_that_nobody_named_goes_with_its_keys(office: Office) -> None:
    ref, scope = await office.upload("Zineb"), ""
    scope = documents.staging_scope(ref)
    later = office.now + timedelta(days=8)
    sealed = office.one("select bytes_sealed from blob b join document d on b.hash = d.blob where d.id = %s", ref)
    before = await office.vault.cipher(TENANT, scope)
    assert before.open(RetentionClass.EVIDENCE, context("blob.bytes_sealed", ref), sealed) == b"Zineb"

    assert await office.rules(later).pass_once() == 0, "while it is there, an event may name it"
    await office.put_upload_away(later)
    assert await office.kinds(scope) == []
    assert await office.rules(later).pass_once() == 1
    assert await office.rules(later).pass_once() == 0
    assert await office.kinds(scope) == STEPS
    assert office.vault.gone(scope)
    (started, _) = await office.told(scope)
    assert office.vault.orders()[scope] == started.hash.hex(), "destroyed by order of its first entry"
    said = json.loads(started.header)
    assert (said["detail"]["rule"], said["detail"]["ground"]) == ("upload", "retention")
    after = await office.vault.cipher(TENANT, scope)
    with pytest.raises(Erased):
        after.open(RetentionClass.EVIDENCE, context("blob.bytes_sealed", ref), sealed)


async def test_an_event_that_was_put_away_goes_after_its_period_and_one_that_waits_or_was_filed_does_not(
    office: Office, open_case: Opened
) -> None:
    away, waits, filed = await office.put_away("away"), await office.stray("waits"), await office.stray("filed")
    case = await open_case("files-it")
    await office.act(filed, TaskAct.EDIT, case=case)
    async with office.web.transaction(TENANT) as conn:
        (scope, *staged) = await scopes_without_case(conn, TENANT, away.scope)
    assert (scope, len(staged)) == (away.scope, 2)
    sealed = office.one("select shown_sealed from task where id = %s", away.id)
    entry = office.one("select body_sealed from entry where chain = %s and seq = 1", scope)
    of_it = await office.vault.cipher(TENANT, scope)
    assert b"Zineb" in of_it.open(RetentionClass.DECISION, context("task.shown_sealed", away.id), sealed)

    assert await office.rules(office.now + timedelta(days=729)).pass_once() == 0, "it is kept for two years"
    assert await office.rules(office.now + YEARS).pass_once() == 1
    for task in (waits, filed):
        assert await office.kinds(task.scope) == []
        assert not office.vault.gone(task.scope)
    assert await office.kinds(scope) == STEPS
    assert all(office.vault.gone(each) for each in (scope, *staged))
    (started, _) = await office.told(scope)
    assert {office.vault.orders()[each] for each in (scope, *staged)} == {started.hash.hex()}
    said = json.loads(started.header)["detail"]
    assert (said["rule"], said["kept_from"], said["kept_until"]) == ("put_away", "2026-11-23", "2028-11-23")
    of_it = await office.vault.cipher(TENANT, scope)
    with pytest.raises(Erased):
        shown_of(away, of_it)
    with pytest.raises(Erased):
        of_it.open(RetentionClass.DECISION, body_context(scope, 1), entry)


async def test_for_whom_was_searched_is_forgotten_month_by_month(office: Office) -> None:
    scope, sealed = await office.searched()
    assert await office.rules(datetime(2029, 11, 30, 12, tzinfo=UTC)).pass_once() == 0, "three years after its month"
    end = datetime(2029, 12, 1, 12, tzinfo=UTC)
    assert await office.rules(end).pass_once() == 1
    assert await office.kinds(scope) == STEPS
    assert office.vault.gone(scope)
    assert not office.vault.gone("searches/2026-12")
    with pytest.raises(Erased):
        (await office.vault.cipher(TENANT, scope)).open(
            RetentionClass.DECISION, body_context("reads/auditor-1", 1), sealed
        )


async def test_the_ledger_holds_and_every_step_has_its_twin(office: Office) -> None:
    office.now = datetime(2027, 2, 5, tzinfo=UTC)
    away = await office.put_away("verified")
    await office.searched()
    await office.rules(office.now + MORE).pass_once()
    assert office.vault.gone(away.scope)
    reconciliation = Reconciliation(office.auditor, office.vault, None, office.now)

    async def found() -> list[str]:
        return [each.name for each in (await reconciliation.of_all(TENANT)).findings]

    async with office.auditor.transaction(TENANT, snapshot=True) as conn:
        report = await verify_tenant(conn, TENANT, keyring=office.vault)
    assert (report.first_bad, report.erased > 0) == (None, True)
    assert await found() == []
    for undone, findings in ((True, ["scope_erasure.steps_differ"]), (False, [])):
        with office.db.superuser() as connection:
            connection.execute("set session_replication_role = replica")
            change = "update scope_erasure set done_at = case when %s then null else started_at end where scope = %s"
            connection.execute(change, [undone, away.scope])
        assert await found() == findings


async def test_days_stand_still_where_a_clock_jumped(office: Office) -> None:
    away = await office.put_away("jumped")
    forget(office.db, TENANT)
    machine = Machine(lambda: office.now)
    rules = WithoutCase(office.worker, office.vault, watch_on(machine))
    await rules.pass_once()
    machine.ahead = YEARS
    await rules.pass_once()
    assert await office.kinds(away.scope) == []
    forget(office.db, TENANT)


async def test_a_ministry_says_for_how_long_and_by_which_text(office: Office) -> None:
    away, usual, basis = await office.put_away("ministry's own"), KeptWithoutCase(), "Loi n° 00-26, article 31"
    try:
        settings(office.db, usual.model_copy(update={"put_away": Kept(months=60, legal_basis=basis)}))
        await office.rules(office.now + YEARS).pass_once()
        assert await office.kinds(away.scope) == [], "longer than usual: so is anything kept that a court asks for"
        settings(office.db, usual.model_copy(update={"put_away": Kept(months=6, legal_basis=basis)}))
        await office.rules(office.now + timedelta(days=190)).pass_once()
    finally:
        settings(office.db, usual)
    (started, _) = await office.told(away.scope)
    assert json.loads(started.header)["legal_basis"] == basis
    for short in ({"put_away": {"months": 5}}, {"searches": {"months": 11}}):
        with pytest.raises(ValidationError, match="fewer than"):
            KeptWithoutCase.model_validate(short)


def settings(db: TestDatabase, kept: KeptWithoutCase) -> None:
    with db.superuser() as connection:
        said = Jsonb({"kept_without_case": kept.model_dump()})
        connection.execute("update tenant set settings = settings || %s where tenant = %s", [said, TENANT])


async def test_the_same_event_again_is_known_when_its_keys_are_gone(office: Office) -> None:
    data, event = FollowUp(note="Zineb, again"), envelope("again", PIECES_SUPPLIED, subject="nowhere")
    await accept_event(office.web, office.vault, event, data, [], client=sender(), now=office.now)
    async with office.web.transaction(TENANT) as conn:
        task = await tasks.get_task(conn, TENANT, tasks.task_id_of(TENANT, "stray_event", SOURCE, "again"))
    await office.act(task, TaskAct.APPROVE)
    await office.rules(office.now + YEARS).pass_once()
    assert office.vault.gone(task.scope)
    taken = await accept_event(office.web, office.vault, event, data, [], client=sender(), now=office.now)
    assert (taken.case_id, taken.duplicate) == (None, True)


# --- crashes, copies, guards ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_whoever_looks_next_goes_on_with_what_a_crash_left(dies: str, office: Office) -> None:
    away, ref = await office.put_away(f"crash {dies}"), await office.upload(f"crash {dies}")
    at = office.now + YEARS
    await office.put_upload_away(at)
    office.vault.dies = dies
    scopes = [away.scope, documents.staging_scope(ref)]
    assert await office.rules(at).pass_once() == 0
    assert [await office.kinds(scope) for scope in scopes] == [STEPS[:1]] * 2, "the ledger first"
    office.vault.dies = ""
    await office.rules(at + timedelta(minutes=1)).pass_once()
    assert [await office.kinds(scope) for scope in scopes] == [STEPS] * 2
    assert all(office.vault.gone(scope) for scope in scopes)


async def test_one_that_fails_keeps_no_other_from_its_turn_and_a_vault_that_is_away_lets_none_begin(
    office: Office,
) -> None:
    tasks_ = [await office.put_away(f"turn {n}") for n in range(3)]
    first, *others = sorted(task.scope for task in tasks_)
    at, vault = office.now + YEARS, office.vault
    vault.fault, vault.dies = Unavailable("vault.unavailable", "The vault does not answer.", "Try again."), "before"
    await office.rules(at).pass_once()
    assert [await office.kinds(scope) for scope in (first, *others)] == [STEPS[:1], [], []], "no more than one"
    vault.fault, vault.dies, vault.refused = RuntimeError("an answer that no vault gives"), "", first
    await office.rules(at, at_once=1).pass_once()
    assert [await office.kinds(scope) for scope in (first, *others)] == [STEPS[:1], STEPS, STEPS]
    vault.refused = ""
    await office.rules(at).pass_once()
    assert await office.kinds(first) == STEPS


async def test_no_copy_of_the_vault_brings_the_keys_back(office: Office, tmp_path: Path) -> None:
    """With the journal, and where it is lost from the ledger's list alone."""
    away, ref = await office.put_away("restored"), await office.upload("restored")
    office.now = datetime(2028, 5, 5, tzinfo=UTC)
    searched, _ = await office.searched()
    at, vault = office.now + MORE, office.vault
    async with office.web.transaction(TENANT) as conn:
        scopes = [*await scopes_without_case(conn, TENANT, away.scope), documents.staging_scope(ref), searched]
    copies.backup(vault.folder / "vault.sqlite", tmp_path / "copy", now=office.now)
    await office.put_upload_away(at)
    await office.rules(at).pass_once()
    assert all(vault.gone(scope) for scope in scopes)

    vault.store.close()
    copies.restore(vault.folder / "vault.sqlite", tmp_path / "copy", now=office.now)
    vault.open()
    assert all(vault.gone(scope) for scope in scopes)

    orders = vault.orders()
    vault.store.close()
    (vault.folder / "destroyed.jsonl").unlink()
    copies.restore(vault.folder / "vault.sqlite", tmp_path / "copy", now=at)
    vault.open(anew=True)
    async with office.worker.transaction(TENANT, snapshot=True) as conn:
        listed = [each async for each in destroyed_keys(conn, TENANT)]
    vault.store.destroy_all([destruction(each) for each in listed])
    assert all(vault.gone(scope) for scope in scopes)
    assert {scope: vault.orders()[scope] for scope in scopes} == {scope: orders[scope] for scope in scopes}


def destruction(each: DestroyedKeys) -> Destruction:
    return Destruction.of(each.tenant, each.scope, [RetentionClass(name) for name in each.classes], each.order, each.at)


NOTE = (
    "insert into scope_erasure (tenant, scope, rule, kept_from, kept_until, started_at) values (%s, %s, %s, %s, %s, %s)"
)


async def test_the_database_lets_nothing_go_that_can_still_be_used_or_without_an_entry(office: Office) -> None:
    waits, ref = await office.stray("guarded"), await office.upload("guarded")
    away = await office.put_away("guarded too")
    day, over, when = date(2026, 11, 23), date(2028, 11, 23), office.now + YEARS
    staged = documents.staging_scope(ref)
    for row, why in (
        ((waits.scope, "put_away", day, over, when), "somebody can still use it"),
        ((staged, "upload", day, None, None), "somebody can still use it"),
        (("a-case", "put_away", day, over, when), "somebody can still use it"),
        ((away.scope, "put_away", day, day, when), "scope_erasure_floor"),
        ((away.scope, "put_away", day, over, office.now), "scope_erasure_over"),
        (("searches/2026-10", "upload", day, None, when), "scope_erasure_rule"),
        ((away.scope, "put_away", day, over, when), "a step without its entry"),
    ):
        with pytest.raises(psycopg.IntegrityError, match=why):
            as_worker(office.db, NOTE, TENANT, *row)
    await office.rules(when).pass_once()
    for change in (
        "update scope_erasure set started_at = now() where scope = %s",
        "update scope_erasure set done_at = null where scope = %s",
    ):
        with pytest.raises(psycopg.IntegrityError, match="what has begun stays"):
            as_worker(office.db, change, away.scope)


def as_worker(db: TestDatabase, statement: str, *values: object) -> None:
    with closing(psycopg.connect(db.url("diwan_worker"))) as connection:
        connection.execute("select set_config('diwan.tenant', %s, true)", [TENANT])
        connection.execute(statement.encode(), values)
        connection.commit()
