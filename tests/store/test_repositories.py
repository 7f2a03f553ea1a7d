"""What is stored comes back as it was, under its own key and place only."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from diwan.domain.actor import system
from diwan.domain.case import Result, StepKind, step_key
from diwan.domain.errors import Conflict, InvalidInput, NotFound, Tampered, Unavailable
from diwan.domain.facts import Fact, Provenance
from diwan.domain.ports import RetentionClass
from diwan.procedures.examples import example_text
from diwan.store import (
    calls,
    cases,
    decisions,
    documents,
    facts,
    grants,
    inbox,
    letters,
    notifications,
    outbox,
    parties,
    procedures,
    runs,
    tool_calls,
)
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.sealing import open_json, seal_json
from tests.store.conftest import SECRET, Opened
from tests.support.databases import TestDatabase
from tests.support.factories import AUTHORITY, PROCEDURE, TENANT, person
from tests.support.keyring import MemoryKeyring

pytestmark = pytest.mark.usefixtures("demo")

WORKER = system(TENANT, "worker")


async def test_a_whole_case_reads_back(web: Database, keyring: MemoryKeyring, whole: str, now: datetime) -> None:
    cipher = await keyring.cipher(TENANT, whole)
    async with web.transaction(TENANT) as conn:
        case = await cases.get_case(conn, TENANT, whole)
        assert (case.status, case.kind, case.state.result) == ("closed", StepKind.END, Result.GRANTED)
        assert case.closed_at == now
        decision = await decisions.decision_of(conn, TENANT, whole, cipher)
        assert decision is not None
        assert (decision.signed_by, decision.proposal.summary) == (AUTHORITY.subject, f"Demande de {SECRET}")
        (letter,) = await letters.letters_of(conn, TENANT, whole, cipher)
        assert letter.content == {"to": SECRET}
        _, pdf = await letters.read_letter(conn, TENANT, letter.id, cipher)
        assert pdf == f"%PDF {SECRET}".encode()
        (notification,) = await notifications.notifications_of(conn, TENANT, whole)
        assert (notification.status, notification.received_at) == ("received", now)
        run = await runs.get_run(conn, TENANT, step_key(whole, "examine", 1))
        assert run is not None
        assert (run.status, run.calls, run.tokens) == ("finished", 1, 15)
        recorded = await calls.recorded(conn, TENANT, run.id, cipher)
        (answer,) = recorded.answers
        assert (answer.call, answer.body, answer.final, answer.broken) == (1, SECRET.encode(), True, "")
        (result,) = recorded.results
        assert (result.result, result.ok) == ({"text": SECRET}, True)
        (page,) = await documents.pages_of(conn, TENANT, whole, cipher)
        assert page.text == f"Certificat de {SECRET}"
        (person_,) = await parties.parties_of(conn, TENANT, whole, cipher)
        assert person_.party.address == SECRET


async def test_a_sealed_value_opens_in_its_own_place_only(keyring: MemoryKeyring) -> None:
    one, other = await keyring.cipher(TENANT, "one"), await keyring.cipher(TENANT, "other")
    sealed = seal_json(one, RetentionClass.DECISION, "party.party_sealed/1", {"name": SECRET})
    assert open_json(one, RetentionClass.DECISION, "party.party_sealed/1", sealed) == {"name": SECRET}
    for cipher, retention, place in (
        (other, RetentionClass.DECISION, "party.party_sealed/1"),
        (one, RetentionClass.EVIDENCE, "party.party_sealed/1"),
        (one, RetentionClass.DECISION, "party.party_sealed/2"),
    ):
        with pytest.raises(Tampered):
            open_json(cipher, retention, place, sealed)


async def test_bytes_that_were_changed_are_not_given_out(
    web: Database, keyring: MemoryKeyring, demo: TestDatabase, whole: str
) -> None:
    cipher = await keyring.cipher(TENANT, whole)
    async with web.transaction(TENANT) as conn:
        (row,) = await documents.documents_of(conn, TENANT, whole, cipher)
    longer = "update blob set bytes_sealed = bytes_sealed || '\\x00' where hash = %s"
    shorter = "update blob set bytes_sealed = substr(bytes_sealed, 1, length(bytes_sealed) - 1) where hash = %s"
    with demo.superuser() as connection:
        connection.execute(longer, [row.blob])
    async with web.transaction(TENANT) as conn:
        with pytest.raises(Tampered) as caught:
            await documents.read_document(conn, TENANT, row.id, cipher)
    assert caught.value.code == "blob.hash_differs"
    with demo.superuser() as connection:
        connection.execute(shorter, [row.blob])


async def test_facts_keep_their_history_and_a_persons_apart(
    worker: Database, keyring: MemoryKeyring, open_case: Opened, now: datetime
) -> None:
    case_id = await open_case("facts")
    cipher = await keyring.cipher(TENANT, case_id)

    def price(value: int, provenance: Provenance, *, by_person: bool = False) -> Fact:
        return Fact(
            name="price",
            value=value,
            provenance=provenance,
            as_of=date(2026, 11, 23),
            established_by="x",
            by_person=by_person,
        )

    for found in (
        [price(1, Provenance.DOCUMENT), price(2, Provenance.DOCUMENT)],
        [price(3, Provenance.DOCUMENT, by_person=True)],
        [price(4, Provenance.DOCUMENT)],
    ):
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
            await facts.store_facts(conn, TENANT, case_id, found, cipher, version=change.version, now=now)
            change.record("case:facts:found", WORKER, cipher=cipher)
    async with worker.transaction(TENANT) as conn:
        known = [fact for fact in await facts.current_facts(conn, TENANT, case_id, cipher) if fact.name == "price"]
    assert sorted((fact.value, fact.provenance.value, fact.by_person) for fact in known) == [
        (3, "document", True),
        (4, "document", False),
        (290_000, "declared", False),
    ]


async def test_the_first_stored_answer_of_a_call_is_the_one_used(
    worker: Database, pool: Database, keyring: MemoryKeyring, open_case: Opened, now: datetime
) -> None:
    case_id = await open_case("answers")
    cipher = await keyring.cipher(TENANT, case_id)

    async def start(visit: int) -> str:
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
            run = await runs.start_run(change, "examine", visit, spec="s", prompts="1")
            assert run.new
            change.record("agent:run:started", WORKER, cipher=cipher)
        return run.id

    async def send(run: str, *, as_attempt: int | None = None) -> int:
        async with pool.transaction(TENANT) as conn:
            attempt = as_attempt or (await calls.recorded(conn, TENANT, run, cipher)).attempts.get(1, 0) + 1
            calls.store_request(
                conn,
                TENANT,
                case_id=case_id,
                run=run,
                call=1,
                attempt=attempt,
                final=False,
                model="m",
                host="h",
                request=b"q",
                cipher=cipher,
                now=now,
            )
        return attempt

    async def answer(run: str, attempt: int) -> bool:
        async with pool.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
            command = calls.answer_command(
                TENANT,
                cipher,
                run=run,
                call=1,
                attempt=attempt,
                body=f"answer {attempt}".encode(),
                broken="",
                engine="e",
                usage={},
                now=now,
            )
            stored = await calls.store_answer(change, command)
            change.record("agent:model:called", WORKER, cipher=cipher)
        return stored.used

    run = await start(1)
    assert [await send(run), await send(run)] == [1, 2]
    with pytest.raises(Unavailable, match="Another worker"):
        await send(run, as_attempt=2)
    assert [await answer(run, 2), await answer(run, 1)] == [True, False]
    with pytest.raises(Conflict):
        await answer(run, 1)
    async with worker.transaction(TENANT) as conn:
        (used,) = (await calls.recorded(conn, TENANT, run, cipher)).answers
    assert used.body == b"answer 2"

    cancelled = await start(2)
    attempt = await send(cancelled)
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        assert await runs.cancel_run(change, "examine", 2)
        assert not await runs.cancel_run(change, "examine", 2)
        change.record("case:step:moved", WORKER, cipher=cipher)
    assert not await answer(cancelled, attempt)
    async with worker.transaction(TENANT) as conn:
        assert (await calls.recorded(conn, TENANT, cancelled, cipher)).answers == []


async def test_a_tools_first_result_stays(
    worker: Database, keyring: MemoryKeyring, open_case: Opened, now: datetime
) -> None:
    case_id = await open_case("tools")
    cipher = await keyring.cipher(TENANT, case_id)
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        run = await runs.start_run(change, "examine", 1, spec="s", prompts="1")
        change.record("agent:run:started", WORKER, cipher=cipher)
    stored: list[tool_calls.StoredResult] = []
    for ok in (False, True):
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
            done = await tool_calls.store_tool_result(
                change,
                cipher,
                run=run.id,
                call=1,
                position=0,
                tool="t",
                effect="read",
                arguments={},
                result=None,
                ok=ok,
            )
            stored.append(done)
            if done.new:
                change.record("agent:tool:called", WORKER, cipher=cipher)
            else:
                change.unchanged()
    assert stored == [tool_calls.StoredResult(new=True, ok=False), tool_calls.StoredResult(new=False, ok=False)]


async def test_events_are_consumed_once_and_in_order(
    worker: Database, keyring: MemoryKeyring, open_case: Opened, now: datetime
) -> None:
    case_id = await open_case("consumed")
    async with worker.transaction(TENANT) as conn:
        (event,) = await inbox.pending(conn, TENANT, case_id, 0)
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        await inbox.consume(change, event, "receipt/1")
        change.record("event:event:consumed", WORKER)
    async with worker.transaction(TENANT) as conn:
        assert await inbox.pending(conn, TENANT, case_id, 1) == []
        assert (await cases.get_case(conn, TENANT, case_id)).inbox_cursor == 1
    with pytest.raises(Conflict, match="not the next"):
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
            await inbox.consume(change, event, "receipt/1")


async def test_an_outgoing_event_is_enqueued_once_and_due_until_delivered(
    worker: Database, demo: TestDatabase, whole: str, now: datetime
) -> None:
    async with worker.transaction(TENANT) as conn:
        first = await outbox.enqueue_outbox(conn, TENANT, whole, "t", {"a": 1}, key="k", now=now)
        again = await outbox.enqueue_outbox(conn, TENANT, whole, "t", {"a": 1}, key="k", now=now)
        assert first == again
        assert len(first) == 1
    relay = Database.connect(demo.url("diwan_relay"), role="diwan_relay", pool_size=2)
    try:
        async with relay.transaction(None) as conn:
            rows = {row.id: row for row in await outbox.due(conn, now=now)}
            async with relay.transaction(None) as other:
                assert await outbox.due(other, now=now) == []
            await outbox.delivered(conn, rows[first[0]], now=now, status="204")
        async with relay.transaction(None) as conn:
            assert first[0] not in {row.id for row in await outbox.due(conn, now=now)}
    finally:
        await relay.dispose()


async def test_earlier_aid_is_found_by_the_applicants_number(
    worker: Database, keyring: MemoryKeyring, open_case: Opened, whole: str, now: datetime
) -> None:
    token = await parties.identity_token(keyring, TENANT, SECRET)
    async with worker.transaction(TENANT) as conn:
        mine = await cases.get_case(conn, TENANT, whole)
        other = await cases.get_case(conn, TENANT, await open_case("earlier"))
        assert not await grants.granted_elsewhere(conn, TENANT, mine.id, mine.procedure, token)
        assert await grants.granted_elsewhere(conn, TENANT, other.id, other.procedure, token)
        assert not await grants.granted_elsewhere(conn, TENANT, other.id, other.procedure, "0" * 64)


async def test_cases_are_listed_newest_first_page_by_page(web: Database, open_case: Opened) -> None:
    opened = {await open_case(f"listed-{n}") for n in range(5)}
    found: list[str] = []
    after = ""
    async with web.transaction(TENANT) as conn:
        while True:
            page = await cases.list_cases(conn, TENANT, procedure=PROCEDURE, after=after, limit=2)
            found += [case.id for case in page.cases]
            after = page.next
            if not after:
                break
        assert await cases.list_cases(conn, TENANT, procedure="none") == cases.CasePage([], "")
        with pytest.raises(InvalidInput):
            await cases.list_cases(conn, TENANT, after="yesterday")
    assert opened <= set(found)
    assert len(found) == len(set(found))


async def test_a_published_version_keeps_its_text(web: Database, now: datetime) -> None:
    text = example_text(PROCEDURE)
    analyst = person("analyst-1")
    async with web.transaction(TENANT) as conn:
        first = await procedures.published(conn, TENANT, PROCEDURE)
        again = await procedures.publish(conn, TENANT, text, analyst, now=now)
        assert again == first
        assert await procedures.published_by_hash(conn, TENANT, first.hash) == first
        with pytest.raises(Conflict) as caught:
            await procedures.publish(conn, TENANT, text + "\n# changed\n", analyst, now=now)
        assert caught.value.code == "procedure.version_differs"
        with pytest.raises(NotFound):
            await procedures.published(conn, TENANT, "none")
