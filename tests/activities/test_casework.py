"""The case's own activities: each thing once, in order, by the date it came, and never without its signature."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from temporalio.testing import ActivityEnvironment

from activities.casework import CaseActivities
from activities.correspondence import Correspondence
from activities.letters import Letter
from diwan.documents.typeset import render_letter
from diwan.domain.actor import Role, system
from diwan.domain.case import CaseStatus, Result, StepKind
from diwan.domain.errors import NeedsPerson
from diwan.domain.event import APPLICATION_WITHDRAWN, NOTIFICATION_RECEIVED
from diwan.domain.task import TaskAct, TaskKind
from diwan.store import tasks
from diwan.store.change import change_case
from diwan.store.proposals import make_proposal
from tests.activities.office import Office
from tests.support.clocks import watch_on
from tests.support.factories import AUTHORITY, CLERK, TENANT
from workflows.calls import BlockInput


async def test_a_step_performed_twice_issues_once(office: Office) -> None:
    case = await office.open("twice")
    step = await office.here(case)
    first = await office.perform(step)
    assert (first.step, first.visit) == ("examine", 1)
    assert await office.perform(step) == first
    assert [letter.kind for letter in await office.letters(case)] == ["receipt"]
    assert len(await office.notifications(case)) == 1
    assert len(await office.entries(case, "letter:letter:issued")) == 1
    assert (await office.row(case)).state.visits["examine"] == 1


async def test_a_letter_set_while_the_case_moved_is_set_again(office: Office) -> None:
    case = await office.open("moved-meanwhile")
    step = await office.here(case)

    async def typeset(letter: Letter) -> bytes:
        await office.tell(case, APPLICATION_WITHDRAWN)
        return await render_letter(letter)

    issuing = Correspondence(office.worker, office.keyring, typeset, office.clock)
    assert await issuing.issue(step) is False
    assert await office.letters(case) == []


async def test_a_letter_that_is_being_set_gives_signs_of_life(office: Office) -> None:
    """Without them a worker that died over it would be missed only when the step's whole time is over."""
    step = await office.here(await office.open("long-set"))
    beat = asyncio.Event()

    async def typeset(letter: Letter) -> bytes:
        async with asyncio.timeout(60):
            await beat.wait()
        return await render_letter(letter)

    correspondence = Correspondence(office.worker, office.keyring, typeset, office.clock)
    watch = watch_on(office.machine)
    casework = CaseActivities(
        *(office.worker, office.keyring, correspondence, office.reminders, office.machine.wall, watch)
    )
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *_: beat.set()
    assert (await environment.run(casework.perform_step, step)).step == "examine"


async def test_nothing_is_issued_while_something_is_in_the_inbox(office: Office) -> None:
    case = await office.open("inbox-first")
    step = await office.here(case)
    await office.tell(case, APPLICATION_WITHDRAWN)
    before = await office.row(case)
    assert (await office.perform(step)).step == "receipt"
    assert await office.letters(case) == []
    assert await office.row(case) == before


async def test_a_decision_is_signed_and_says_by_whom(office: Office) -> None:
    case = await office.reviewed("signed")
    await office.act(CLERK, case, TaskAct.APPROVE)
    assert (await office.drain(case)).step == "sign"
    await office.act(AUTHORITY, case, TaskAct.APPROVE)
    assert (await office.drain(case)).step == "decide"
    step = await office.here(case)
    office.clock.now += timedelta(hours=1)
    assert (await office.perform(step)).step == "closed"
    await office.perform(step)
    row = await office.row(case)
    assert (row.status, row.state.result) == (CaseStatus.CLOSED, Result.GRANTED)
    assert [letter.kind for letter in await office.letters(case)] == ["receipt", "decision"]
    issued = await office.detail(case, "case:decision:issued")
    assert issued["signed_by"] == AUTHORITY.subject
    assert issued["delegation"] == "delegation-1"


async def placed(office: Office, case: str, step: str, visit: int, kind: StepKind, *, proposal: str = "") -> None:
    """The case stands at this step however it came there, as a fault in a procedure could bring it."""
    cipher = await office.keyring.cipher(TENANT, case)
    async with (
        office.worker.transaction(TENANT) as conn,
        change_case(conn, TENANT, case, now=office.clock.now) as change,
    ):
        change.state.step, change.state.visit = step, visit
        change.plan(kind, None)
        if kind is StepKind.TASK:
            await tasks.open_task(
                change,
                cipher,
                kind=TaskKind.SIGN,
                step=step,
                visit=visit,
                shown={},
                roles=[Role.AUTHORITY],
                proposer="rules",
                proposal_id=proposal,
            )
        change.record("case:step:moved", system(TENANT, "worker"), cipher=cipher)


async def test_a_decision_that_nobody_signed_is_not_issued(office: Office) -> None:
    case = await office.reviewed("unsigned")
    await placed(office, case, "decide", 1, StepKind.ACT)
    with pytest.raises(NeedsPerson) as refused:
        await office.perform(await office.here(case))
    assert refused.value.code == "decision.unsigned"
    assert [letter.kind for letter in await office.letters(case)] == ["receipt"]


async def test_a_signature_counts_only_as_the_latest_answer(office: Office) -> None:
    """Signed once, then asked again and sent back: the first signature is no signature any more."""
    case = await office.reviewed("signed-before")
    await office.act(CLERK, case, TaskAct.APPROVE)
    await office.drain(case)
    signed = await office.act(AUTHORITY, case, TaskAct.APPROVE)
    await office.drain(case)
    (first,) = [task for task in await office.tasks(case) if task.id == signed]
    office.clock.now += timedelta(hours=1)
    await placed(office, case, "sign", 2, StepKind.TASK, proposal=first.proposal_id)
    await office.act(AUTHORITY, case, TaskAct.RETURN, reason="À revoir")
    assert (await office.drain(case)).step == "review"
    await placed(office, case, "decide", 2, StepKind.ACT)
    with pytest.raises(NeedsPerson) as refused:
        await office.perform(await office.here(case))
    assert refused.value.code == "decision.unsigned"
    assert [letter.kind for letter in await office.letters(case)] == ["receipt"]


async def test_a_signature_under_another_proposal_signs_nothing(office: Office) -> None:
    case = await office.reviewed("other-proposal")
    await office.act(CLERK, case, TaskAct.APPROVE)
    await office.drain(case)
    await office.act(AUTHORITY, case, TaskAct.APPROVE)
    await office.drain(case)
    dossier = await office.dossier(case)
    assert dossier.proposal is not None
    later = office.clock.now + timedelta(minutes=1)
    async with office.worker.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=later) as change:
        await make_proposal(conn, TENANT, case, dossier.proposal, dossier.cipher, now=later)
        change.record("case:step:moved", system(TENANT, "worker"), cipher=dossier.cipher)
    with pytest.raises(NeedsPerson) as refused:
        await office.perform(await office.here(case))
    assert refused.value.code == "decision.unsigned"


async def test_a_fatal_date_closes_the_case_as_its_silence_says(office: Office) -> None:
    case = await office.reviewed("silence")
    due = (await office.row(case)).state.periods["decision"].due_at
    office.clock.now = due - timedelta(seconds=1)
    assert (await office.wake(case)).step == "review"
    office.clock.now = due
    assert (await office.wake(case)).step == "closed"
    row = await office.row(case)
    assert (row.status, row.state.result) == (CaseStatus.CLOSED, Result.IMPLIED_REFUSAL)
    last = (await office.entries(case, "case:period:expired"))[-1]
    assert b'"implied_refusal"' in last.header
    assert not [task for task in await office.tasks(case) if task.live]
    version = row.version
    await office.wake(case)
    assert (await office.row(case)).version == version


async def test_an_event_from_before_the_date_wins_however_late_it_is_taken(office: Office) -> None:
    case = await office.reviewed("just-in-time")
    due = (await office.row(case)).state.periods["decision"].due_at
    office.clock.now = due - timedelta(seconds=1)
    await office.tell(case, APPLICATION_WITHDRAWN)
    office.clock.now = due + timedelta(days=1)
    assert (await office.wake(case)).step == "withdrawal"
    await office.perform(await office.here(case))
    assert (await office.row(case)).state.result is Result.WITHDRAWN


@pytest.mark.parametrize("by", ["drain", "wake"])
async def test_an_event_from_after_the_date_comes_second(office: Office, by: str) -> None:
    case = await office.reviewed(f"too-late-{by}")
    due = (await office.row(case)).state.periods["decision"].due_at
    office.clock.now = due + timedelta(seconds=1)
    await office.tell(case, APPLICATION_WITHDRAWN)
    plan = await (office.drain(case) if by == "drain" else office.wake(case))
    row = await office.row(case)
    assert (plan.step, row.state.result) == ("closed", Result.IMPLIED_REFUSAL)
    assert row.inbox_cursor == row.inbox_last
    (late,) = await office.tasks(case, TaskKind.LATE_EVENT)
    assert late.live


async def test_a_withdrawal_that_nothing_awaits_is_work_for_a_person(office: Office) -> None:
    case = await office.reviewed("withdrawn-at-decide")
    await office.act(CLERK, case, TaskAct.APPROVE)
    await office.drain(case)
    await office.act(AUTHORITY, case, TaskAct.APPROVE)
    await office.drain(case)
    await office.tell(case, APPLICATION_WITHDRAWN)
    assert (await office.drain(case)).step == "decide"
    (late,) = await office.tasks(case, TaskKind.LATE_EVENT)
    assert late.live


async def test_the_receipt_of_a_letter_is_noted_once(office: Office) -> None:
    case = await office.open("received")
    await office.perform(await office.here(case))
    (letter,) = await office.letters(case)
    await office.tell(case, NOTIFICATION_RECEIVED, letter=letter.id, proof="AR 1")
    await office.drain(case)
    (sent,) = await office.notifications(case)
    assert (sent.status, sent.received_at) == ("received", office.clock.now)
    assert await office.tasks(case, TaskKind.LATE_EVENT) == []


async def test_the_receipt_of_a_letter_that_we_never_sent_is_work_for_a_person(office: Office) -> None:
    case = await office.open("received-unknown")
    await office.perform(await office.here(case))
    await office.tell(case, NOTIFICATION_RECEIVED, letter="nobody/sent/1", proof="AR 1")
    await office.drain(case)
    assert [sent.status for sent in await office.notifications(case)] == ["sent"]
    (late,) = await office.tasks(case, TaskKind.LATE_EVENT)
    assert late.live


async def test_an_alert_says_where_the_case_stands_whatever_its_workflow_thought(office: Office) -> None:
    case = await office.open("alerted")
    begun = BlockInput(tenant=TENANT, case=case, step="sign", visit=1, code="letters.broken")
    with capture_logs() as logs:
        await ActivityEnvironment().run(office.casework.block_case, begun)
    assert [(line["event"], line["step"]) for line in logs] == [("case.blocked", "receipt")]


async def test_a_block_is_recorded_once_and_the_next_move_clears_it(office: Office) -> None:
    case = await office.open("blocked")
    assert (await office.block(case, "letters.broken")).blocked == "letters.broken"
    version = (await office.row(case)).version
    await office.block(case, "letters.broken")
    assert (await office.row(case)).version == version
    assert (await office.detail(case, "case:case:blocked")) == {"code": "letters.broken"}
    plan = await office.perform(await office.here(case))
    assert (plan.step, plan.blocked) == ("examine", "")
