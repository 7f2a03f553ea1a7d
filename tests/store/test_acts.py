"""People's acts: once each, on what was shown, by who may; what is refused is on record."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest

from diwan.domain.actor import Role
from diwan.domain.case import Result
from diwan.domain.decision import Assessment
from diwan.domain.errors import InvalidInput, NotFound
from diwan.domain.event import APPLICATION_WITHDRAWN, TASK_COMPLETED, FollowUp
from diwan.domain.ports import RetentionClass
from diwan.domain.task import ActInput, TaskAct, TaskKind, TaskStatus
from diwan.store import cases, facts, inbox, tasks
from diwan.store.acts import TaskView, act_on_task
from diwan.store.database import Database
from diwan.store.entries import entries_of
from diwan.store.intake import accept_event
from diwan.store.proposals import get_proposal
from diwan.store.sealing import context
from tests.store.conftest import Act, Opened, ReviewOpened, fails, refusals_of
from tests.support.databases import TestDatabase
from tests.support.factories import (
    AUTHORITY,
    CLERK,
    OTHER_CLERK,
    SOURCE,
    SUPERVISOR,
    TENANT,
    envelope,
    person,
    sender,
)
from tests.support.keyring import MemoryKeyring

pytestmark = pytest.mark.usefixtures("demo")

OPEN_RESULT = Assessment(result=None, unknown=["price"], missing_pieces=["sale_promise"])


async def test_an_approval_completes_the_task_and_is_an_event_of_the_case(
    act: Act, web: Database, keyring: MemoryKeyring, open_case: Opened, open_task: ReviewOpened
) -> None:
    case_id = await open_case("approved")
    task = await open_task(case_id)
    view: TaskView = await act(CLERK, task, TaskAct.APPROVE)
    assert (view.status, view.outcome, view.completed_by) == (TaskStatus.COMPLETED, "approved", CLERK.subject)
    cipher = await keyring.cipher(TENANT, case_id)
    async with web.transaction(TENANT) as conn:
        case = await cases.get_case(conn, TENANT, case_id)
        assert (case.version, case.inbox_last) == (3, 2)
        _, event = await inbox.pending(conn, TENANT, case_id, 0)
        (_, _, entry) = await entries_of(conn, TENANT, case_id)
    assert (event.source, event.type) == ("task", TASK_COMPLETED)
    body = inbox.body_of(event, cipher)
    assert (body["outcome"], body["step"], body["by"]) == ("approved", "review", CLERK.subject)
    header = json.loads(entry.header)
    assert header["approval"] == {
        "shown": task.digest,
        "recommended": "granted",
        "decided": "approved",
        "overridden": False,
    }


async def test_the_same_act_again_gives_the_same_answer(
    act: Act, web: Database, open_case: Opened, open_task: ReviewOpened
) -> None:
    case_id = await open_case("again")
    task = await open_task(case_id)
    answers = await asyncio.gather(*(act(CLERK, task, TaskAct.APPROVE) for _ in range(10)))
    assert len({answer.model_dump_json() for answer in answers}) == 1
    async with web.transaction(TENANT) as conn:
        assert (await cases.get_case(conn, TENANT, case_id)).version == 3
    for other in ({"reason": "autre"}, {"digest": "0" * 64}):
        await fails("task.key_used", act(CLERK, task, TaskAct.APPROVE, **other))
    await fails("task.key_used", act(OTHER_CLERK, task, TaskAct.APPROVE))
    await fails("task.not_open", act(CLERK, task, TaskAct.APPROVE, key="another"))


async def test_an_act_is_bound_to_what_was_shown(
    act: Act, web: Database, open_case: Opened, open_task: ReviewOpened
) -> None:
    task = await open_task(await open_case("shown"))
    for what in (TaskAct.APPROVE, TaskAct.EDIT, TaskAct.REJECT, TaskAct.RETURN):
        await fails(
            "task.shown_digest_differs", act(CLERK, task, what, digest="0" * 64, reason="r", changes={"rooms": 2})
        )
    await fails("task.shown_digest_differs", act(CLERK, task, TaskAct.APPROVE, digest=""))
    assert (await refusals_of(web, CLERK.subject))[-1] == "task.shown_digest_differs"


async def test_edit_reject_and_return_need_a_reason(act: Act, open_case: Opened, open_task: ReviewOpened) -> None:
    task = await open_task(await open_case("reasons"))
    for what in (TaskAct.EDIT, TaskAct.REJECT, TaskAct.RETURN):
        await fails("task.reason_required", act(CLERK, task, what, reason="  ", changes={"rooms": 2}))
    view: TaskView = await act(CLERK, task, TaskAct.REJECT, reason="Prix à vérifier")
    assert view.outcome == "rejected"


async def test_reasons_are_kept_sealed(
    act: Act,
    web: Database,
    keyring: MemoryKeyring,
    demo: TestDatabase,
    open_case: Opened,
    open_task: ReviewOpened,
) -> None:
    case_id = await open_case("sealed-reason")
    await act(CLERK, await open_task(case_id), TaskAct.RETURN, reason="Motif confidentiel de Zineb")
    cipher = await keyring.cipher(TENANT, case_id)
    with demo.superuser() as connection:
        ((task, key, sealed),) = connection.execute(
            "select task_id, key, reason_sealed from task_act where case_id = %s", [case_id]
        ).fetchall()
        place = context("task_act.reason_sealed", str(task), str(key))
        assert isinstance(sealed, bytes)
        assert cipher.open(RetentionClass.DECISION, place, sealed).decode() == "Motif confidentiel de Zineb"
        rows = connection.execute("select t::text from task_act t where case_id = %s", [case_id]).fetchall()
    assert b"Motif confidentiel".hex() not in str(rows)
    assert "Motif" not in str(rows)


async def test_only_the_roles_of_a_task_act_on_it(
    act: Act, web: Database, open_case: Opened, open_task: ReviewOpened
) -> None:
    task = await open_task(await open_case("roles"))
    for other in (AUTHORITY, person("auditor-1", Role.AUDITOR), person("nobody")):
        for what in TaskAct:
            await fails("task.role_missing", act(other, task, what, reason="r"))
    assert await refusals_of(web, AUTHORITY.subject) == ["task.role_missing"] * len(TaskAct)


async def test_a_claimed_task_is_its_assignees(act: Act, open_case: Opened, open_task: ReviewOpened) -> None:
    task = await open_task(await open_case("claimed"))
    view: TaskView = await act(CLERK, task, TaskAct.CLAIM, key="c1")
    assert (view.status, view.assignee) == (TaskStatus.CLAIMED, CLERK.subject)
    assert await act(CLERK, task, TaskAct.CLAIM, key="c2") == view
    for what in (TaskAct.CLAIM, TaskAct.APPROVE, TaskAct.RELEASE):
        await fails("task.claimed_by_other", act(OTHER_CLERK, task, what, key=f"o-{what}"))
    released: TaskView = await act(SUPERVISOR, task, TaskAct.RELEASE, key="r")
    assert (released.status, released.assignee) == (TaskStatus.OPEN, "")
    await fails("task.not_claimed", act(CLERK, task, TaskAct.RELEASE, key="r2"))
    done: TaskView = await act(OTHER_CLERK, task, TaskAct.APPROVE, key="a")
    assert done.completed_by == OTHER_CLERK.subject


async def test_two_claims_at_once_have_one_winner(act: Act, open_case: Opened, open_task: ReviewOpened) -> None:
    task = await open_task(await open_case("claims"))
    answers = await asyncio.gather(
        *(act(person(f"racer-{n}", Role.CLERK), task, TaskAct.CLAIM, key=str(n)) for n in range(6)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, TaskView) for each in answers) == 1


async def test_who_proposed_does_not_approve(
    act: Act, web: Database, open_case: Opened, open_task: ReviewOpened
) -> None:
    task = await open_task(await open_case("four-eyes"), proposer=CLERK.subject)
    await fails("task.four_eyes", act(CLERK, task, TaskAct.APPROVE))
    assert "task.four_eyes" in await refusals_of(web, CLERK.subject)
    assert (await act(OTHER_CLERK, task, TaskAct.APPROVE)).outcome == "approved"


async def test_the_database_itself_keeps_four_eyes(
    demo: TestDatabase, open_case: Opened, open_task: ReviewOpened
) -> None:
    task = await open_task(await open_case("four-eyes-below"), proposer=CLERK.subject)
    with demo.superuser() as connection, pytest.raises(Exception, match="task_check"):
        connection.execute(
            "update task set status = 'completed', outcome = 'approved', completed_by = proposer where id = %s",
            [task.id],
        )


async def test_an_edit_makes_a_revision_for_another_person(
    act: Act, web: Database, keyring: MemoryKeyring, open_case: Opened, open_task: ReviewOpened
) -> None:
    case_id = await open_case("edited")
    task = await open_task(case_id, roles=(Role.CLERK,))
    await act(CLERK, task, TaskAct.CLAIM, key="c")
    view: TaskView = await act(
        CLERK, task, TaskAct.EDIT, key="e", reason="Prix lu sur la promesse", changes={"price": "650 000", "rooms": 4}
    )
    assert (view.status, view.assignee, view.proposer) == (TaskStatus.OPEN, "", CLERK.subject)
    assert view.digest != task.digest
    cipher = await keyring.cipher(TENANT, case_id)
    async with web.transaction(TENANT) as conn:
        edited = await tasks.get_task(conn, TENANT, task.id)
        revision = await get_proposal(conn, TENANT, edited.proposal_id, cipher)
        known = await facts.current_facts(conn, TENANT, case_id, cipher)
    price = next(fact for fact in known if fact.name == "price" and fact.by_person)
    assert (price.value, price.established_by) == (650_000, CLERK.subject)
    assert (revision.revision, revision.proposer) == (2, CLERK.subject)
    shown = tasks.shown_of(edited, cipher)
    assert shown["proposal"] == revision.proposal.model_dump(mode="json")
    assert shown["case"] == case_id
    assert edited.roles == [Role.CLERK, Role.SUPERVISOR]
    await fails("task.four_eyes", act(CLERK, edited, TaskAct.APPROVE, key="own"))
    await fails("task.shown_digest_differs", act(SUPERVISOR, task, TaskAct.APPROVE, key="old"))


async def test_a_person_may_set_the_result_and_another_approves(
    act: Act, web: Database, keyring: MemoryKeyring, open_case: Opened, open_task: ReviewOpened
) -> None:
    case_id = await open_case("overridden")
    task = await open_task(case_id, assessment=OPEN_RESULT)
    refused = await fails("task.undetermined", act(CLERK, task, TaskAct.APPROVE))
    assert "price, piece.sale_promise" in refused.remedy
    await fails("task.amount_missing", act(CLERK, task, TaskAct.EDIT, reason="r", changes={"result": "granted"}))
    await act(CLERK, task, TaskAct.EDIT, key="e", reason="Vu", changes={"result": "granted", "amount": 70_000})
    async with web.transaction(TENANT) as conn:
        edited = await tasks.get_task(conn, TENANT, task.id)
        made = await get_proposal(conn, TENANT, edited.proposal_id, await keyring.cipher(TENANT, case_id))
    assert (made.proposal.assessment.result, made.proposal.assessment.amount) == (Result.GRANTED, 70_000)
    assert made.proposal.warnings == ["result_set_by_person"]
    assert (await act(OTHER_CLERK, edited, TaskAct.APPROVE, key="a")).outcome == "approved"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "task.no_changes"),
        ({"colour": "blue"}, "task.change_unknown"),
        ({"piece.passport": "x"}, "task.change_unknown"),
        ({"piece.sale_promise": "not-a-document"}, "task.document_unknown"),
        ({"rooms": "many"}, "fact.value"),
        ({"result": "perhaps"}, "task.result_unknown"),
        ({"amount": -1}, "task.amount_not_whole"),
        ({"amount": True}, "task.amount_not_whole"),
    ],
)
async def test_an_edit_that_makes_no_sense_changes_nothing(
    act: Act,
    web: Database,
    open_case: Opened,
    open_task: ReviewOpened,
    changes: dict[str, Any],
    code: str,
) -> None:
    case_id = await open_case(f"nonsense-{code}-{len(str(changes))}")
    task = await open_task(case_id)
    await fails(code, act(CLERK, task, TaskAct.EDIT, reason="r", changes=changes))
    async with web.transaction(TENANT) as conn:
        assert (await cases.get_case(conn, TENANT, case_id)).version == 2


async def test_a_cancelled_task_takes_no_act(
    act: Act, worker: Database, open_case: Opened, open_task: ReviewOpened, now: datetime
) -> None:
    from diwan.domain.actor import system
    from diwan.store.change import change_case

    case_id = await open_case("cancelled")
    task = await open_task(case_id)
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        assert await tasks.cancel_open_tasks(change) == 1
        change.record("case:step:moved", system(TENANT, "worker"))
    await fails("task.not_open", act(CLERK, task, TaskAct.APPROVE))


async def test_a_stray_events_task_is_dealt_with_by_a_clerk(
    web: Database, keyring: MemoryKeyring, act: Act, now: datetime
) -> None:
    event = envelope("stray-act", APPLICATION_WITHDRAWN)
    await accept_event(web, keyring, event, FollowUp(note="?"), [], client=sender(), now=now)
    async with web.transaction(TENANT) as conn:
        task = await tasks.get_task(
            conn, TENANT, tasks.task_id_of(TENANT, TaskKind.STRAY_EVENT.value, SOURCE, event.id)
        )
    view: TaskView = await act(CLERK, task, TaskAct.APPROVE, reason="Transmis au bureau d'ordre")
    assert (view.status, view.case_id) == (TaskStatus.COMPLETED, None)
    assert await act(CLERK, task, TaskAct.APPROVE, reason="Transmis au bureau d'ordre") == view
    async with web.transaction(TENANT) as conn:
        kinds = [entry.kind for entry in await entries_of(conn, TENANT, task.scope)]
    assert kinds == ["event:withdrawal:accepted", "task:act:recorded"]


async def test_a_worklist_holds_what_a_role_may_do_page_by_page(
    web: Database, open_case: Opened, open_task: ReviewOpened
) -> None:
    case_id = await open_case("worklist")
    opened = [await open_task(case_id, visit=n) for n in range(1, 6)]
    async with web.transaction(TENANT) as conn:
        found: list[str] = []
        after = ""
        while True:
            page = await tasks.worklist(conn, TENANT, [Role.CLERK], case_id=case_id, after=after, limit=2)
            found += [task.id for task in page.tasks]
            after = page.next
            if not after:
                break
        none = await tasks.worklist(conn, TENANT, [Role.AUTHORITY], case_id=case_id)
    assert sorted(found) == sorted(task.id for task in opened)
    assert list(none.tasks) == []


async def test_there_is_no_act_on_an_unknown_task_or_without_a_key(
    web: Database, keyring: MemoryKeyring, now: datetime
) -> None:
    with pytest.raises(NotFound):
        await act_on_task(web, keyring, CLERK, "none", TaskAct.CLAIM, ActInput(), key="k", now=now)
    with pytest.raises(InvalidInput):
        await act_on_task(web, keyring, CLERK, "none", TaskAct.CLAIM, ActInput(), key="", now=now)
