"""Intake: every event takes effect once, whatever arrives how often at once; the rest is refused, on record."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest

from diwan.domain.case import CaseStatus, StepKind
from diwan.domain.errors import Conflict, InvalidInput, NotFound, Refused
from diwan.domain.event import APPLICATION_WITHDRAWN, PIECES_SUPPLIED, DocumentRef, FollowUp
from diwan.domain.facts import Provenance
from diwan.domain.ports import RetentionClass
from diwan.domain.task import TaskKind
from diwan.store import cases, documents, facts, inbox, parties, tasks
from diwan.store.database import Database
from diwan.store.entries import entries_of
from diwan.store.intake import Accepted, accept_event, upload_document
from tests.store.conftest import Opened, refusals_of
from tests.support.databases import TestDatabase
from tests.support.factories import SOURCE, TENANT, a_document, application, envelope, sender
from tests.support.keyring import MemoryKeyring

pytestmark = pytest.mark.usefixtures("demo")


async def test_an_application_opens_a_case_with_all_it_brings(
    web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    listed = [DocumentRef(name="carte.txt", piece="identity_card", part="a"), DocumentRef(name="virus.exe", part="b")]
    came = [a_document("carte"), a_document("MZ", status="quarantined", reason="executable")]
    accepted = await accept_event(
        web, keyring, envelope("whole"), application("whole", documents=listed), came, client=sender(), now=now
    )
    assert accepted.number is not None
    assert accepted.number.startswith("DW-2026-0000")
    assert [(each.status, each.reason) for each in accepted.documents] == [
        ("accepted", ""),
        ("quarantined", "executable"),
    ]
    assert accepted.case_id is not None
    cipher = await keyring.cipher(TENANT, accepted.case_id)
    async with web.transaction(TENANT) as conn:
        case = await cases.get_case(conn, TENANT, accepted.number)
        assert (case.id, case.version, case.inbox_last, case.inbox_cursor) == (accepted.case_id, 1, 1, 0)
        assert (case.status, case.kind, case.state.step) == (CaseStatus.OPEN, StepKind.ACT, "receipt")
        assert [row.party.name for row in await parties.parties_of(conn, TENANT, case.id, cipher)] == [
            "Zineb Exemplaire"
        ]
        stored = await documents.documents_of(conn, TENANT, case.id, cipher)
        assert {(row.name, row.piece, row.status) for row in stored} == {
            ("carte.txt", "identity_card", "accepted"),
            ("virus.exe", "", "quarantined"),
        }
        _, data = await documents.read_document(conn, TENANT, accepted.documents[0].id, cipher)
        assert data == b"carte"
        declared = {fact.name: fact for fact in await facts.current_facts(conn, TENANT, case.id, cipher)}
        assert declared["price"].value == 290_000
        assert declared["price"].provenance is Provenance.DECLARED
        (event,) = await inbox.pending(conn, TENANT, case.id, 0)
        assert inbox.body_of(event, cipher)["data"]["reference"] == "whole"
        (entry,) = await entries_of(conn, TENANT, case.id)
    header = json.loads(entry.header)
    assert header["kind"] == "event:application:accepted"
    assert set(header["commitments"]) == {"event", "fields", "state_after"}
    assert event.event_id.encode() not in entry.header  # a sender chooses it: it must be erasable
    assert b"Exemplaire" not in entry.header


async def test_a_hundred_of_the_same_at_once_open_one_case(
    web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    answers = await asyncio.gather(
        *(
            accept_event(web, keyring, envelope("storm"), application("storm"), [], client=sender(), now=now)
            for _ in range(100)
        )
    )
    assert len({(each.case_id, each.number, each.inbox_seq) for each in answers}) == 1
    assert sorted(each.duplicate for each in answers) == [False] + [True] * 99
    case_id = answers[0].case_id
    assert case_id is not None
    async with web.transaction(TENANT) as conn:
        assert (await cases.get_case(conn, TENANT, case_id)).version == 1
        assert len(await inbox.events_of(conn, TENANT, case_id)) == 1


async def test_the_same_id_with_another_body_is_a_conflict_on_record(
    web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    await accept_event(web, keyring, envelope("twice"), application("twice"), [], client=sender(), now=now)
    for other in (application("twice", answers={}), application("another")):
        with pytest.raises(Conflict) as caught:
            await accept_event(web, keyring, envelope("twice"), other, [], client=sender(), now=now)
        assert caught.value.code == "event.id_used"
    assert "event.id_used" in await refusals_of(web, "portal")


async def test_different_bodies_of_one_id_at_once_leave_one_case(
    web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    answers = await asyncio.gather(
        *(
            accept_event(web, keyring, envelope("race"), application(f"race-{n}"), [], client=sender(), now=now)
            for n in range(8)
        ),
        return_exceptions=True,
    )
    failed = [each for each in answers if isinstance(each, BaseException)]
    assert len(failed) == 7
    assert {type(each) for each in failed} == {Conflict}


async def test_a_reference_used_by_another_application_is_a_conflict(
    web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    first = await accept_event(web, keyring, envelope("ref-1"), application("ref"), [], client=sender(), now=now)
    again = await accept_event(web, keyring, envelope("ref-2"), application("ref"), [], client=sender(), now=now)
    assert (again.case_id, again.duplicate) == (first.case_id, True)
    with pytest.raises(Conflict) as caught:
        await accept_event(
            web, keyring, envelope("ref-3"), application("ref", answers={}), [], client=sender(), now=now
        )
    assert caught.value.code == "event.reference_used"
    assert first.number is not None
    assert first.number in caught.value.message


async def test_the_same_application_under_a_second_id_gets_the_first_answer_and_takes_the_id(
    web: Database, keyring: MemoryKeyring, demo: TestDatabase, now: datetime
) -> None:
    ref = await upload_document(web, keyring, a_document("téléversé"), client=sender(), now=now)
    listed = [DocumentRef(name="carte.txt", part="a"), DocumentRef(name="avance.txt", ref=ref)]
    data = application("second", documents=listed)

    async def send(id_: str, **changed: object) -> Accepted:
        said, parts = data.model_copy(update=changed), [a_document("carte")]
        return await accept_event(web, keyring, envelope(id_), said, parts, client=sender(), now=now)

    first = await send("second-1")
    answers = await asyncio.gather(*(send("second-2") for _ in range(5)))
    for again in (*answers, await send("second-2"), await send("second-1")):
        assert (again.case_id, again.number, again.inbox_seq) == (first.case_id, first.number, 1)
        assert list(again.documents) == list(first.documents)
        assert len(again.documents) == 2
        assert again.duplicate
    for used in ("second-1", "second-2"):
        with pytest.raises(Conflict) as caught:
            await send(used, answers={})
        assert caught.value.code == "event.id_used"
    assert first.case_id is not None
    async with web.transaction(TENANT) as conn:
        case = await cases.get_case(conn, TENANT, first.case_id)
        assert (case.version, case.inbox_last) == (2, 1)
        assert [each.event_id for each in await inbox.events_of(conn, TENANT, first.case_id)] == ["second-1"]
        entries = await entries_of(conn, TENANT, first.case_id)
    # On record once, however often it came: the same content, under the id that its sealed body names.
    assert [entry.kind for entry in entries] == ["event:application:accepted", "event:application:repeated"]
    assert json.loads(entries[1].header)["detail"]["inbox_seq"] == 1
    opened, repeated = await sealed_bodies(demo, keyring, first.case_id)
    assert (opened["body"], repeated["body"]) == ({"event": "second-1"}, {"event": "second-2"})
    assert opened["committed"]["event"][1] == repeated["committed"]["event"][1]


async def sealed_bodies(database: TestDatabase, keyring: MemoryKeyring, case_id: str) -> list[dict[str, Any]]:
    """What is sealed beside each entry of a case: `body`, and `committed`: salt and digest of each value."""
    cipher = await keyring.cipher(TENANT, case_id)
    with database.superuser() as connection:
        rows = connection.execute("select seq, body_sealed from entry where chain = %s order by seq", [case_id])
        return [
            json.loads(cipher.open(RetentionClass.DECISION, f"entry.body_sealed/{case_id}/{seq}", bytes(sealed)))  # type: ignore[call-overload]
            for seq, sealed in rows
        ]


async def test_one_application_under_many_ids_at_once_opens_one_case(
    web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    ref = await upload_document(web, keyring, a_document("téléversé"), client=sender(), now=now)
    data = application("ids", documents=[DocumentRef(name="carte.txt", part="a"), DocumentRef(name="b.txt", ref=ref)])
    answers = await asyncio.gather(
        *(
            accept_event(web, keyring, envelope(f"ids-{n}"), data, [a_document("carte")], client=sender(), now=now)
            for n in range(6)
        )
    )
    assert len({(each.case_id, each.number, each.inbox_seq, tuple(each.documents)) for each in answers}) == 1
    assert sorted(each.duplicate for each in answers) == [False] + [True] * 5


async def test_a_source_is_bound_to_its_credential(web: Database, keyring: MemoryKeyring, now: datetime) -> None:
    before = set(keyring.scopes)
    with pytest.raises(Refused) as caught:
        await accept_event(
            web, keyring, envelope("stolen"), application("stolen"), [], client=sender("stranger"), now=now
        )
    assert caught.value.code == "event.source_not_bound"
    assert keyring.scopes == before
    assert "event.source_not_bound" in await refusals_of(web, "stranger")


async def test_a_follow_up_finds_its_case_by_id_or_number(
    web: Database, keyring: MemoryKeyring, open_case: Opened, now: datetime
) -> None:
    case_id = await open_case("followed")
    async with web.transaction(TENANT) as conn:
        number = (await cases.get_case(conn, TENANT, case_id)).number
    data = FollowUp(note="voici", documents=[DocumentRef(name="promesse.txt", piece="sale_promise", part="p")])
    for seq, subject in ((2, case_id), (3, number)):
        event = envelope(f"pieces-{seq}", PIECES_SUPPLIED, subject=subject)
        accepted = await accept_event(web, keyring, event, data, [a_document()], client=sender(), now=now)
        assert (accepted.case_id, accepted.inbox_seq, accepted.duplicate) == (case_id, seq, False)
        again = await accept_event(web, keyring, event, data, [a_document()], client=sender(), now=now)
        assert (again.case_id, again.inbox_seq, again.duplicate) == (case_id, seq, True)
        assert list(again.documents) == list(accepted.documents)
    async with web.transaction(TENANT) as conn:
        assert (await cases.get_case(conn, TENANT, case_id)).version == 3


async def test_follow_ups_at_once_are_numbered_without_a_gap(
    web: Database, keyring: MemoryKeyring, open_case: Opened, now: datetime
) -> None:
    case_id = await open_case("many")
    answers = await asyncio.gather(
        *(
            accept_event(
                web,
                keyring,
                envelope(f"many-{n}", PIECES_SUPPLIED, subject=case_id),
                FollowUp(note=str(n)),
                [],
                client=sender(),
                now=now,
            )
            for n in range(20)
        )
    )
    assert sorted(each.inbox_seq or 0 for each in answers) == list(range(2, 22))


@pytest.mark.parametrize("subject", ["", "DW-2026-999999", "no such case"])
async def test_what_matches_no_case_goes_to_a_clerk(
    web: Database, keyring: MemoryKeyring, now: datetime, subject: str
) -> None:
    event = envelope(f"stray-{subject}", APPLICATION_WITHDRAWN, subject=subject)
    data = FollowUp(note="je retire ma demande")
    accepted = await accept_event(web, keyring, event, data, [], client=sender(), now=now)
    assert (accepted.case_id, accepted.inbox_seq) == (None, None)
    again = await accept_event(web, keyring, event, data, [], client=sender(), now=now)
    assert again.duplicate
    task_id = tasks.task_id_of(TENANT, TaskKind.STRAY_EVENT.value, SOURCE, event.id)
    async with web.transaction(TENANT) as conn:
        task = await tasks.get_task(conn, TENANT, task_id)
        (entry,) = await entries_of(conn, TENANT, task.scope)
    assert entry.kind == "event:withdrawal:accepted"
    shown = tasks.shown_of(task, await keyring.cipher(TENANT, task.scope))
    assert shown["data"]["note"] == "je retire ma demande"


async def test_a_case_of_a_source_that_is_not_the_senders_is_not_found(
    web: Database, keyring: MemoryKeyring, demo: TestDatabase, open_case: Opened, now: datetime
) -> None:
    case_id = await open_case("foreign")
    with demo.superuser() as connection:
        connection.execute("insert into source values ('demo', 'urn:test:other', 'other')")
    event = envelope("foreign-1", APPLICATION_WITHDRAWN, subject=case_id).model_copy(
        update={"source": "urn:test:other"}
    )
    accepted = await accept_event(web, keyring, event, FollowUp(), [], client=sender("other"), now=now)
    assert accepted.case_id is None


async def test_an_upload_is_used_once_by_its_sender(web: Database, keyring: MemoryKeyring, now: datetime) -> None:
    ref = await upload_document(web, keyring, a_document("téléversé"), client=sender(), now=now)
    listed = [DocumentRef(name="renommé.txt", piece="sale_promise", ref=ref)]
    event, data = envelope("uploaded"), application("uploaded", documents=listed)
    accepted = await accept_event(web, keyring, event, data, [], client=sender(), now=now)
    again = await accept_event(web, keyring, event, data, [], client=sender(), now=now)
    assert (again.case_id, again.duplicate) == (accepted.case_id, True)
    assert accepted.case_id is not None
    cipher = await keyring.cipher(TENANT, accepted.case_id)
    async with web.transaction(TENANT) as conn:
        row, content = await documents.read_document(conn, TENANT, ref, cipher)
    assert (row.name, row.piece, content.decode()) == ("renommé.txt", "sale_promise", "téléversé")
    with pytest.raises(NotFound) as caught:
        await accept_event(
            web,
            keyring,
            envelope("uploaded-2"),
            application("uploaded-2", documents=listed),
            [],
            client=sender(),
            now=now,
        )
    assert caught.value.code == "document.not_staged"


async def test_an_unknown_procedure_or_mismatched_documents_are_refused(
    web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    with pytest.raises(NotFound) as unknown:
        await accept_event(
            web, keyring, envelope("bad-1"), application("bad-1", procedure="none"), [], client=sender(), now=now
        )
    assert unknown.value.code == "procedure.unknown"
    with pytest.raises(InvalidInput) as differ:
        await accept_event(
            web, keyring, envelope("bad-2"), application("bad-2"), [a_document()], client=sender(), now=now
        )
    assert differ.value.code == "event.parts_differ"
    with pytest.raises(InvalidInput) as type_:
        await accept_event(
            web, keyring, envelope("bad-3", "org.example.other"), FollowUp(), [], client=sender(), now=now
        )
    assert type_.value.code == "event.type_unknown"
