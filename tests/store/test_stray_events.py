"""An event that matches no case: a person names its case, once, and it is an event of that case like any other."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from activities.dossier import read_dossier
from activities.events import take
from diwan.domain.actor import Actor, system
from diwan.domain.case import StepKind
from diwan.domain.errors import Conflict, InvalidInput, Refused
from diwan.domain.event import PIECES_SUPPLIED, DocumentRef, FollowUp
from diwan.domain.task import ActInput, TaskAct, TaskKind, TaskStatus
from diwan.store import cases, documents, inbox, tasks
from diwan.store.acts import TaskView, act_on_task
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.doorbell import Bell, cases_to_ring, mark_rung
from diwan.store.entries import entries_of
from diwan.store.intake import accept_event, upload_document
from diwan.store.ledger_check import verify_tenant
from diwan.store.refusals import refusals_chain
from diwan.store.stray_events import read_stray
from diwan.store.tasks import TaskRow
from tests.store.conftest import Opened
from tests.support.factories import (
    AUTHORITY,
    CLERK,
    OTHER_CLERK,
    SOURCE,
    SUPERVISOR,
    TENANT,
    a_document,
    envelope,
    sender,
)
from tests.support.keyring import MemoryKeyring

pytestmark = pytest.mark.usefixtures("demo")

NOTE = "La promesse manquante, dossier de Zineb"
Stray = Callable[[str], Awaitable[TaskRow]]
Assign = Callable[..., Awaitable[TaskView]]


def follow_up(ref: str) -> FollowUp:
    listed = [
        DocumentRef(name="promesse.txt", piece="sale_promise", part="a"),
        DocumentRef(name="avance.txt", ref=ref),
        DocumentRef(name="virus.exe", part="b"),
    ]
    return FollowUp(note=NOTE, documents=listed)


@pytest.fixture
def stray(web: Database, keyring: MemoryKeyring, now: datetime) -> Stray:
    """An event of this id that matches no case, with three documents; its task."""

    async def kept(id_: str) -> TaskRow:
        ref = await upload_document(web, keyring, a_document("téléversé"), client=sender(), now=now)
        came = [a_document("promesse"), a_document("MZ", status="quarantined", reason="executable")]
        event = envelope(id_, PIECES_SUPPLIED, subject="DW-1999-000001")
        await accept_event(web, keyring, event, follow_up(ref), came, client=sender(), now=now)
        async with web.transaction(TENANT) as conn:
            return await tasks.get_task(conn, TENANT, tasks.task_id_of(TENANT, "stray_event", SOURCE, id_))

    return kept


@pytest.fixture
def assign(web: Database, keyring: MemoryKeyring, now: datetime) -> Assign:
    async def assigned(task: TaskRow, case: Any, *, actor: Actor = CLERK, key: str = "k", **given: Any) -> TaskView:
        values: dict[str, Any] = {
            "digest": task.digest,
            "reason": "Le nom et le numéro sont les siens.",
            "changes": {"case": case},
        }
        act = ActInput(**{**values, **given})
        return await act_on_task(web, keyring, actor, task.id, TaskAct.EDIT, act, key=key, now=now + timedelta(days=3))

    return assigned


async def test_its_task_shows_the_note_and_the_documents(stray: Stray, keyring: MemoryKeyring) -> None:
    task = await stray("shown")
    shown = tasks.shown_of(task, await keyring.cipher(TENANT, task.scope))
    assert shown["data"]["note"] == NOTE
    assert [(each["name"], each["piece"], each["status"]) for each in shown["documents"]] == [
        ("promesse.txt", "sale_promise", "accepted"),
        ("avance.txt", "", "accepted"),
        ("virus.exe", "", "quarantined"),
    ]


@pytest.mark.parametrize("by", ["id", "number"])
async def test_it_becomes_an_event_of_the_case_that_a_person_names(
    by: str,
    stray: Stray,
    assign: Assign,
    web: Database,
    keyring: MemoryKeyring,
    open_case: Opened,
    now: datetime,
) -> None:
    task, case_id = await stray(f"filed-{by}"), await open_case(f"filed-{by}")
    async with web.transaction(TENANT) as conn:
        case = await cases.get_case(conn, TENANT, case_id)
    view = await assign(task, case.id if by == "id" else case.number, actor=CLERK if by == "id" else SUPERVISOR)
    assert (view.status, view.outcome) == (TaskStatus.COMPLETED, "assigned")

    cipher = await keyring.cipher(TENANT, case_id)
    async with web.transaction(TENANT) as conn:
        after = await cases.get_case(conn, TENANT, case_id)
        first, filed = await inbox.pending(conn, TENANT, case_id, 0)
        came = {row.name: row for row in await documents.documents_of(conn, TENANT, case_id, cipher)}
        bytes_ = {name: (await documents.read_document(conn, TENANT, came[name].id, cipher))[1] for name in came}
        entries = await entries_of(conn, TENANT, case_id)
        strays = await entries_of(conn, TENANT, task.scope)
    assert (after.version, after.inbox_last, after.state) == (case.version + 1, 2, case.state)
    assert (first.inbox_seq, filed.inbox_seq, filed.type) == (1, 2, PIECES_SUPPLIED)
    assert (filed.accepted_at, filed.accepted_from, filed.consumed_at) == (now, "portal", None)
    body = inbox.body_of(filed, cipher)
    assert body["data"]["note"] == NOTE
    assert body["event"] == {"source": SOURCE, "id": f"filed-{by}"}
    assert body["documents"] == [came[name].id for name in ("promesse.txt", "avance.txt", "virus.exe")]
    assert {name: data.decode() for name, data in bytes_.items()} == {
        "promesse.txt": "promesse",
        "avance.txt": "téléversé",
        "virus.exe": "MZ",
    }
    assert (came["promesse.txt"].piece, came["virus.exe"].status) == ("sale_promise", "quarantined")
    assert [entry.kind for entry in entries] == ["event:application:accepted", "event:event:assigned"]
    assert [entry.kind for entry in strays] == ["event:pieces:accepted", "task:act:recorded"]
    said, there = json.loads(entries[-1].header), json.loads(strays[-1].header)
    assert said["detail"] == {
        "task": task.id,
        "chain": task.scope,
        "type": PIECES_SUPPLIED,
        "inbox_seq": 2,
        "documents": 3,
    }
    assert said["approval"] == {"shown": task.digest, "decided": "assigned", "overridden": False}
    assert (there["detail"]["case"], there["detail"]["inbox_seq"]) == (case_id, 2)
    assert b"Zineb" not in entries[-1].header + strays[-1].header


async def test_what_the_cases_entry_commits_to_is_the_event_as_it_came(
    stray: Stray, assign: Assign, web: Database, keyring: MemoryKeyring, open_case: Opened
) -> None:
    task = await stray("same")
    async with web.transaction(TENANT, snapshot=True) as conn:
        read = await read_stray(conn, task, await keyring.cipher(TENANT, task.scope))
    assert read.row.digest == await keyring.token(TENANT, "event.body", hashlib.sha256(read.canonical).hexdigest())
    await assign(task, await open_case("same"))
    async with web.transaction(TENANT, snapshot=True) as conn:
        report = await verify_tenant(conn, TENANT, keyring=keyring)
    assert report.first_bad is None


async def test_the_relay_rings_for_it_at_once(
    stray: Stray, assign: Assign, open_case: Opened, connect: Callable[[str], Database], now: datetime
) -> None:
    task, case_id = await stray("rung"), await open_case("rung")
    relay = connect("diwan_relay")
    rung_at = now + timedelta(hours=1)

    async def due(at: datetime) -> list[Bell]:
        async with relay.transaction(None) as conn:
            return [bell for bell in await cases_to_ring(conn, at) if bell.case == case_id]

    (bell,) = await due(rung_at)
    async with relay.transaction(None) as conn:
        await mark_rung(conn, bell, rung_at)
    assert await due(rung_at) == []
    await assign(task, case_id)
    assert [bell.rings for bell in await due(rung_at)] == [0]


async def test_the_same_act_again_and_at_once_files_it_once(
    stray: Stray, assign: Assign, web: Database, open_case: Opened
) -> None:
    task, case_id = await stray("once"), await open_case("once")
    answers = await asyncio.gather(*(assign(task, case_id) for _ in range(8)))
    answers.append(await assign(task, case_id))
    assert [each for each in answers if each != answers[0]] == []
    async with web.transaction(TENANT) as conn:
        assert len(await inbox.events_of(conn, TENANT, case_id)) == 2
        assert (await cases.get_case(conn, TENANT, case_id)).version == 2


async def test_of_two_people_who_name_two_cases_one_is_right(
    stray: Stray, assign: Assign, web: Database, open_case: Opened
) -> None:
    task = await stray("two")
    named = [await open_case("two-1"), await open_case("two-2")]
    answers = await asyncio.gather(
        assign(task, named[0], key="a"),
        assign(task, named[1], actor=OTHER_CLERK, key="b"),
        return_exceptions=True,
    )
    (lost,) = [each for each in answers if isinstance(each, BaseException)]
    assert isinstance(lost, Conflict)
    assert lost.code == "task.not_open"
    async with web.transaction(TENANT) as conn:
        assert sorted([len(await inbox.events_of(conn, TENANT, case_id)) for case_id in named]) == [1, 2]


async def test_its_sender_gets_the_same_answer_as_before(
    stray: Stray, assign: Assign, web: Database, keyring: MemoryKeyring, open_case: Opened, now: datetime
) -> None:
    event, data = envelope("again", PIECES_SUPPLIED), FollowUp(note=NOTE)
    before = await accept_event(web, keyring, event, data, [], client=sender(), now=now)
    async with web.transaction(TENANT) as conn:
        task = await tasks.get_task(conn, TENANT, tasks.task_id_of(TENANT, "stray_event", SOURCE, "again"))
    await assign(task, await open_case("again"))
    again = await accept_event(web, keyring, event, data, [], client=sender(), now=now)
    assert (again.case_id, again.number, list(again.documents)) == (None, None, list(before.documents))
    assert again.duplicate


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"changes": {"case": "DW-2026-999999"}}, "task.case_unknown"),
        ({"changes": {"case": 7}}, "task.case_unknown"),
        ({"changes": {}}, "task.change_unknown"),
        ({"changes": {"case": "x", "price": 1}}, "task.change_unknown"),
        ({"reason": " "}, "task.reason_required"),
    ],
)
async def test_what_names_no_case_changes_nothing(
    given: dict[str, Any], code: str, stray: Stray, assign: Assign, web: Database
) -> None:
    task = await stray(f"bad-{code}-{len(str(given))}")
    with pytest.raises(InvalidInput) as caught:
        await assign(task, "", **given)
    assert caught.value.code == code
    assert caught.value.remedy
    async with web.transaction(TENANT) as conn:
        assert (await tasks.get_task(conn, TENANT, task.id)).status is TaskStatus.OPEN


async def test_only_who_may_and_only_what_was_shown(
    stray: Stray, assign: Assign, web: Database, open_case: Opened
) -> None:
    task, case_id = await stray("rights"), await open_case("rights")
    with pytest.raises(Refused) as refused:
        await assign(task, case_id, actor=AUTHORITY)
    assert refused.value.code == "task.role_missing"
    with pytest.raises(Conflict) as differs:
        await assign(task, case_id, digest="0" * 64)
    assert differs.value.code == "task.shown_digest_differs"
    async with web.transaction(TENANT) as conn:
        recorded = await entries_of(conn, TENANT, refusals_chain(AUTHORITY.subject))
        assert (await cases.get_case(conn, TENANT, case_id)).version == 1
    assert [entry.kind for entry in recorded] == ["task:act:refused"]


async def test_once_noted_it_is_not_filed_any_more(
    stray: Stray, assign: Assign, web: Database, keyring: MemoryKeyring, open_case: Opened, now: datetime
) -> None:
    task, case_id = await stray("noted"), await open_case("noted")
    given = ActInput(digest=task.digest)
    await act_on_task(web, keyring, CLERK, task.id, TaskAct.APPROVE, given, key="a", now=now)
    with pytest.raises(Conflict) as caught:
        await assign(task, case_id)
    assert caught.value.code == "task.not_open"


async def test_for_a_closed_case_it_is_a_late_event_that_shows_what_it_brings(
    stray: Stray,
    assign: Assign,
    web: Database,
    worker: Database,
    keyring: MemoryKeyring,
    open_case: Opened,
    now: datetime,
) -> None:
    task, case_id = await stray("late"), await open_case("late")
    await assign(task, case_id)
    cipher = await keyring.cipher(TENANT, case_id)
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        (first, filed) = await inbox.pending(conn, TENANT, case_id, 0)
        await inbox.consume(change, first, "receipt/1")
        change.plan(StepKind.END, None)
        change.closed(now)
        change.record("case:case:closed", system(TENANT, "worker"), cipher=cipher)
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        await take(change, await read_dossier(conn, change.case, cipher), filed)
    async with web.transaction(TENANT) as conn:
        (late,) = await tasks.tasks_of(conn, TENANT, case_id)
    assert late.kind is TaskKind.LATE_EVENT
    shown = tasks.shown_of(late, cipher)
    assert shown["data"]["note"] == NOTE
    assert [(each["name"], each["status"]) for each in shown["documents"]] == [
        ("promesse.txt", "accepted"),
        ("avance.txt", "accepted"),
        ("virus.exe", "quarantined"),
    ]
