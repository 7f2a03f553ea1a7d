"""What `diwan ledger reconcile` finds of real cases: on their letters' own chains, in the vault, in Temporal."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, LiteralString

import pytest
from psycopg.sql import SQL
from sqlalchemy.exc import IntegrityError
from temporalio.service import RPCError, RPCStatusCode

from diwan.domain.actor import system
from diwan.domain.erasure import Ground
from diwan.domain.errors import NotFound
from diwan.domain.event import APPLICATION_WITHDRAWN
from diwan.domain.ports import Keyring, RetentionClass
from diwan.domain.task import TaskAct
from diwan.erasing import Erasures
from diwan.ledger.dossier_twins import NOT_COUNTED
from diwan.ledger.receipt import ISSUED, Facts
from diwan.ledger.receipt_code import chain_of, code_of
from diwan.ledger.receipt_standing import REPLACED
from diwan.reconcile import Reconciled, Reconciliation
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.entries import append_entry
from diwan.store.erasures import Wanted, approve_erasure, ask_erasure
from diwan.store.histories import Run, keep_history, know_runs, seal_history
from diwan.store.holds import lift_hold, place_hold
from diwan.store.receipts import open_receipt, seal_receipt
from tests.activities.conftest import NOW
from tests.activities.office import PIECES, Office
from tests.support.factories import AUTHORITY, CLERK, SUPERVISOR, TENANT
from tests.support.keyring import MemoryCipher, MemoryKeyring

STARTED = {
    "eventId": "1",
    "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED",
    "workflowExecutionStartedEventAttributes": {"workflowType": {"name": "Case"}},
}
ENDED = {"eventId": "2", "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"}


@dataclass
class Auditor:
    office: Office
    db: Database

    def work(self, client: Any = None, keyring: Keyring | None = None) -> Reconciliation:
        return Reconciliation(self.db, keyring or self.office.keyring, client, self.office.clock.now)

    async def case(self, case: str, client: Any = None) -> Reconciled:
        return await self.work(client).of_case(TENANT, case)

    async def names(self, case: str) -> set[str]:
        return set((await self.case(case)).by_name)


@pytest.fixture
async def auditor(office: Office) -> AsyncGenerator[Auditor]:
    db = Database.connect(office.database.url("diwan_auditor"), role="diwan_auditor", pool_size=1)
    yield Auditor(office, db)
    await db.dispose()


async def withdrawn(office: Office, reference: str) -> dict[str, str]:
    """A case with three letters, the last of which ended the second; each one's chain by its kind, `case` its id."""
    case = await office.open(reference, {"identity_card": PIECES["identity_card"]})
    await office.perform(await office.here(case))
    await office.examine(await office.here(case))
    await office.act(CLERK, case, TaskAct.APPROVE)
    await office.drain(case)
    await office.perform(await office.here(case))
    await office.tell(case, APPLICATION_WITHDRAWN)
    await office.drain(case)
    await office.perform(await office.here(case))
    return {"case": case, **{row.kind: row.receipt_chain or "" for row in await office.letters(case)}}


class Forgetful(MemoryKeyring):
    async def cipher(self, tenant: str, scope: str) -> MemoryCipher:
        raise NotFound("vault.keys_unknown", "There are no keys of this scope.", "")


async def keeps(office: Office, case: str, run_id: str) -> None:
    """The history of a run that did nothing."""
    run = Run(TENANT, run_id, f"{TENANT}/{case}", case)
    content = json.dumps({"events": [STARTED, ENDED]}).encode()
    cipher = await office.keyring.cipher(TENANT, case)
    async with (
        office.worker.transaction(TENANT) as conn,
        change_case(conn, TENANT, case, now=office.clock.now) as change,
    ):
        await know_runs(conn, [run], now=office.clock.now)
        sealed = seal_history(cipher, run_id, content)
        assert await keep_history(change, cipher, run, sealed, workflow="Case", events=1, ended="completed")


async def erased(office: Office, case: str, *, held: bool = True) -> None:
    """Asked for, approved, carried out; `held` in between, and approved anew."""
    cipher = await office.keyring.cipher(TENANT, case)

    async def does(act: Callable[..., Awaitable[Any]], *given: Any) -> Any:
        async with (
            office.web.transaction(TENANT) as conn,
            change_case(conn, TENANT, case, now=office.clock.now) as change,
        ):
            return await act(change, cipher, *given)

    wanted = Wanted([*RetentionClass], Ground.REQUEST, "Act 1", reason="She asks.")
    asked = await does(ask_erasure, SUPERVISOR, wanted)
    await does(approve_erasure, AUTHORITY, asked.id)
    if held:
        hold = await does(place_hold, AUTHORITY, "Before the court.")
        await does(lift_hold, AUTHORITY, hold.id, "It is decided.")
        await does(approve_erasure, AUTHORITY, asked.id)
    assert await Erasures(office.worker, office.keyring, lambda: office.clock.now).pass_once() == 1


async def adds(office: Office, chain: str, kind: str, **detail: str) -> None:
    """As whoever holds the worker's role can."""
    async with office.worker.transaction(TENANT) as conn:
        await append_entry(conn, TENANT, chain, kind, system(TENANT, "worker"), now=office.clock.now, detail=detail)


async def test_a_receipt_of_no_letter_is_named_and_a_word_that_no_letter_brought_about(
    auditor: Auditor, office: Office
) -> None:
    forged = chain_of(code_of(b"a forged PDF".ljust(12)))
    there = await withdrawn(office, "true-letters")
    before = await auditor.work().of_all(TENANT)
    assert not any(name.startswith("receipt.") for name in before.by_name), before.findings
    with pytest.raises(IntegrityError, match="a receipt of no letter"):
        await adds(office, forged, ISSUED, facts="0" * 64)
    with office.database.superuser() as connection:
        connection.execute("alter table entry disable trigger entry_of_letter")
    await adds(office, forged, ISSUED, facts="0" * 64)
    with office.database.superuser() as connection:
        connection.execute("alter table entry enable trigger entry_of_letter")
    told = await auditor.work().of_all(TENANT)
    assert [(each.where, each.case) for each in told.findings if each.name == "receipt.row_missing"] == [(forged, "")]
    whole = await auditor.case(there["case"])
    assert (whole.findings, whole.counts["receipts opened"]) == ([], 3)
    await adds(office, there["receipt"], REPLACED, by=there["withdrawal"])
    assert await auditor.names(there["case"]) == {"receipt.chain_differs"}


async def test_a_receipt_that_was_made_for_another_file_is_named(auditor: Auditor, office: Office) -> None:
    there = await withdrawn(office, "another-file")
    cipher = await office.keyring.cipher(TENANT, there["case"])
    (row,) = (each for each in await office.letters(there["case"]) if each.kind == "receipt")
    ((kept,),) = office.stored("select receipt_sealed from letter where id = %s", row.id)
    assert isinstance(kept, bytes)
    facts, salt = open_receipt(cipher, row.id, kept)
    other = Facts.model_validate_json(facts).model_copy(update={"pdf": "0" * 64})
    made = seal_receipt(cipher, row.id, other, salt)
    with office.database.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update letter set receipt_sealed = %s where id = %s", [made.sealed, row.id])
    told = await auditor.case(there["case"])
    assert [(each.name, each.where) for each in told.findings] == [("receipt.facts_differ", there["receipt"])]
    with office.database.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "update letter set receipt_sealed = %s, blob = (select min(blob) from letter where id <> %s) where id = %s",
            [kept, row.id, row.id],
        )
    assert await auditor.names(there["case"]) == {"cipher.does_not_open"}


async def test_a_key_that_is_gone_and_no_erasure_told_of_it_is_named(auditor: Auditor, office: Office) -> None:
    """As after a restore of the database to before an erasure, until that is asked for and carried out again."""
    case = (await withdrawn(office, "key-gone"))["case"]
    await keeps(office, case, "run-gone")
    whole = await auditor.case(case)
    assert (whole.findings, whole.counts["histories compared"]) == ([], 1)
    await office.keyring.destroy(TENANT, case, [RetentionClass.DECISION], "order")
    gone = {"history.erased_untold", "receipt.erased_untold", "key.destroyed_untold"}
    assert await auditor.names(case) == gone
    told = await auditor.work(keyring=Forgetful()).of_case(TENANT, case)
    assert set(told.by_name) == gone, "nor where the vault has never heard of the case"
    await erased(office, case, held=False)
    told = await auditor.case(case)
    assert (told.findings, told.counts["histories erased"], told.counts["receipts erased"]) == ([], 1, 3)


# What a superuser does to the rows of an erasure and a hold of a case, and what of it is named.
PLANTED: dict[LiteralString, set[str]] = {
    "delete from erasure where case_id = {case}": {
        f"{what}.row_missing" for what in ("erasure", "erasure_decision", "erasure_start", "erasure_end")
    },
    "delete from legal_hold where case_id = {case}": {"hold.row_missing", "hold_end.row_missing"},
    "update erasure set status = 'asked', decided_by = '', decided_at = null, started_at = null, done_at = null "
    "where case_id = {case}": {f"{what}.row_missing" for what in ("erasure_decision", "erasure_start", "erasure_end")},
    "update erasure set decided_by = 'nobody' where case_id = {case}": {
        f"erasure_decision.{where}_missing" for where in ("row", "entry")
    },
    "update legal_hold set lifted_by = '', lifted_at = null, lifted_because_sealed = null where case_id = {case}": {
        "hold_end.row_missing"
    },
    'insert into erasure select (jsonb_populate_record(e, \'{{"id": "planted"}}\')).* from erasure e '
    "where case_id = {case}": {
        f"{what}.entry_missing" for what in ("erasure", "erasure_decision", "erasure_start", "erasure_end")
    },
    'insert into legal_hold select (jsonb_populate_record(h, \'{{"id": "planted"}}\')).* from legal_hold h '
    "where case_id = {case}": {"hold.entry_missing", "hold_end.entry_missing"},
}


async def test_an_erasure_or_a_hold_that_is_in_rows_or_entries_alone_is_named(auditor: Auditor, office: Office) -> None:
    case = (await withdrawn(office, "erased"))["case"]
    await erased(office, case)
    whole = await auditor.case(case)
    assert whole.findings == []
    counted = ("erasure", "erasure_decision", "erasure_start", "erasure_end", "hold", "hold_end")
    assert [whole.counts[what] for what in counted] == [1] * 6
    with office.database.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        for table in ("erasure", "legal_hold"):
            connection.execute(SQL("create temp table kept_{0} as select * from {0}").format(SQL(table)))
        for planted, names in PLANTED.items():
            connection.execute(SQL(planted).format(case=case))
            assert await auditor.names(case) == names, planted
            for table in ("erasure", "legal_hold"):
                connection.execute(SQL("delete from {0}").format(SQL(table)))
                connection.execute(SQL("insert into {0} select * from kept_{0}").format(SQL(table)))
    assert (await auditor.case(case)).findings == []
    async with (
        office.worker.transaction(TENANT) as conn,
        change_case(conn, TENANT, case, now=office.clock.now) as change,
    ):
        change.record("case:hold:lifted", AUTHORITY, detail={"hold": "of-nothing"})
    assert await auditor.names(case) == {"hold_end.row_missing"}


async def test_a_procedure_whose_text_is_another_than_its_hash_is_named(auditor: Auditor, office: Office) -> None:
    case = await office.open("another-text")
    assert await auditor.names(case) == set()
    with office.database.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update procedure_version set body = body || ' '")
        told = await auditor.case(case)
        connection.execute("update procedure_version set body = left(body, -1)")
    assert [each.name for each in told.findings] == ["procedure.text_differs"]


# What a superuser does to the facts, pages and parties of a case, and what of it is named, and where.
UNDONE: dict[LiteralString, set[tuple[str, str]]] = {
    "delete from fact where case_id = {case} and provenance = 'person'": {("fact.row_missing", "edited")},
    "delete from fact where case_id = {case} and provenance = 'registry'": {("fact.row_missing", "began")},
    "delete from fact where case_id = {case} and provenance = 'document'": {("fact.row_missing", "ended")},
    "delete from fact where case_id = {case} and provenance = 'declared'": {("fact.row_missing", "opened")},
    "update fact set version = 2 where case_id = {case} and provenance = 'person'": {
        *(("fact.row_missing", "edited"), ("fact.entry_missing", "consumed"))
    },
    "insert into fact select (jsonb_populate_record(f, '{{\"revision\": 9}}')).* from fact f where case_id = {case} "
    "and provenance = 'person'": {("fact.entry_missing", "edited")},
    "delete from page where case_id = {case}": {("page.row_missing", "page")},
    "delete from party where case_id = {case}": {("party.row_missing", "party")},
    'insert into party select (jsonb_populate_record(p, \'{{"id": "planted"}}\')).* from party p '
    "where case_id = {case}": {("party.entry_missing", "party")},
}


async def test_a_fact_a_page_or_a_party_that_its_entry_does_not_count_is_named(
    auditor: Auditor, office: Office
) -> None:
    case = await office.reviewed("facts-gone")
    await office.act(CLERK, case, TaskAct.EDIT, reason="The promise says so.", changes={"price": 300_000})
    whole = await auditor.case(case)
    assert whole.findings == []
    assert min(whole.counts[what] for what in ("fact", "page", "party")) > 0
    assert whole.counts[NOT_COUNTED] == 0
    numbers = {
        "opened": 1,
        "consumed": 2,
        "began": (await office.entries(case, "agent:run:started"))[0].seq,
        "ended": (await office.entries(case, "agent:run:ended"))[0].seq,
        "edited": (await office.entries(case, "task:act:recorded"))[-1].seq,
    }
    with office.database.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        tables = ("fact", "page", "party")
        for table in tables:
            connection.execute(SQL("create temp table kept_{0} as select * from {0}").format(SQL(table)))
        for undone, names in UNDONE.items():
            connection.execute(SQL(undone).format(case=case))
            told = {(each.name, each.where) for each in (await auditor.case(case)).findings}
            assert told == {(name, f"entry {numbers[at]}" if at in numbers else at) for name, at in names}, undone
            for table in tables:
                connection.execute(SQL("delete from {0}").format(SQL(table)))
                connection.execute(SQL("insert into {0} select * from kept_{0}").format(SQL(table)))
    assert (await auditor.case(case)).findings == []


# What a superuser does to the delegation under which a case was signed, and what of it is named.
REWRITTEN: dict[LiteralString, set[str]] = {
    "update delegation set amount_limit = amount_limit - 1": {"delegation.terms_differ"},
    "update delegation set results = '{{granted}}', valid_to = valid_to - 1": {"delegation.terms_differ"},
    "update delegation set revoked_on = '2026-01-01'": {"delegation.revoked_before"},
    "update delegation set revoked_on = '2026-12-24'": set(),
    "delete from delegation": {"delegation.row_missing"},
}


async def test_a_signature_under_other_terms_than_its_delegations_is_named(auditor: Auditor, office: Office) -> None:
    """Widened, signed under, and put back: the entry says the terms that were used."""
    case = await office.reviewed("signed-under")
    await office.act(CLERK, case, TaskAct.APPROVE)
    await office.drain(case)
    await office.act(AUTHORITY, case, TaskAct.APPROVE)
    whole = await auditor.case(case)
    assert (whole.findings, whole.counts["signatures compared"]) == ([], 1)
    with office.database.superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("create temp table kept as select * from delegation")
        for rewritten, names in REWRITTEN.items():
            connection.execute(SQL(rewritten).format())
            assert await auditor.names(case) == names, rewritten
            connection.execute("delete from delegation")
            connection.execute("insert into delegation select * from kept")
    told = await auditor.work(keyring=Forgetful()).of_case(TENANT, case)
    assert (told.counts["signatures erased"], "delegation.terms_differ" in told.by_name) == (1, False)
    assert (await auditor.case(case)).findings == []


@dataclass
class Listed:
    """What Temporal lists of a case: a run of each name, with its history or what is raised where it is fetched."""

    has: dict[str, bytes | RPCStatusCode]
    cut: bool = False  # the list itself breaks off, after what is in it

    async def list_workflows(self, query: str) -> AsyncGenerator[Any]:
        for run_id in self.has:
            yield SimpleNamespace(id="w", run_id=run_id, start_time=NOW - timedelta(days=1))
        if self.cut:
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")

    def get_workflow_handle(self, workflow_id: str, *, run_id: str) -> Any:
        async def fetch_history() -> Any:
            there = self.has[run_id]
            if isinstance(there, RPCStatusCode):
                raise RPCError("no", there, b"")
            return SimpleNamespace(to_json_dict=lambda: json.loads(there))

        return SimpleNamespace(fetch_history=fetch_history)


DID_SOMETHING = json.dumps(
    {
        "events": [
            STARTED,
            {
                "eventId": "2",
                "eventType": "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED",
                "activityTaskScheduledEventAttributes": {"activityType": {"name": "block_case"}, "activityId": "1"},
            },
        ]
    }
).encode()
NOT_LOOKED_FOR = "cases whose unknown runs were not looked for, or not all"


async def test_what_temporal_lacks_of_one_run_hides_no_other(auditor: Auditor, office: Office) -> None:
    case = await office.open("unknown-runs")
    deleted = {"gone": RPCStatusCode.NOT_FOUND, "cut": b'{"events": [{}]}', "did": DID_SOMETHING}
    told = await auditor.case(case, Listed(deleted))
    assert [(each.name, each.where) for each in told.findings] == [
        *(("workflow_run.row_missing", "did"), ("history.unreadable", "cut"))
    ]
    assert (told.counts["unknown runs that were deleted meanwhile"], told.counts[NOT_LOOKED_FOR]) == (1, 0)
    for away in (
        Listed({"did": DID_SOMETHING, "silent": RPCStatusCode.UNAVAILABLE}),
        Listed({"did": DID_SOMETHING}, cut=True),
    ):
        told = await auditor.case(case, away)
        assert [each.name for each in told.findings] == ["workflow_run.row_missing"]
        assert told.counts[NOT_LOOKED_FOR] == 1
    told = await auditor.case(case)
    assert (told.findings, told.counts[NOT_LOOKED_FOR]) == ([], 1)
