"""A reminder goes out once, on its day, and never after the answer: decided under the case's lock, by its own dates."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.casework import CaseActivities
from activities.letters import Letter
from activities.reminders import Reminders
from diwan.documents.content import letter_content
from diwan.documents.typeset import render_letter
from diwan.domain.clock import Finding
from diwan.domain.errors import Final
from diwan.domain.event import PIECES_SUPPLIED
from diwan.domain.task import TaskAct, TaskStatus
from diwan.domain.text import Language
from diwan.store.clock_watch import CHAIN
from tests.activities.office import PIECES, Office
from tests.support.clocks import watch_on
from tests.support.factories import CLERK, SUPERVISOR, TENANT
from workflows.calls import CaseRef

DAY = timedelta(days=1)
MOMENT = timedelta(seconds=1)
SOME = {name: text for name, text in PIECES.items() if name != "sale_promise"}
MISSING = {"sale_promise": PIECES["sale_promise"]}
ISSUED, NOTICE = "letter:letter:issued", "task:reminder:sent"


@pytest.fixture(autouse=True)
def hook(office: Office) -> None:
    with office.database.superuser() as connection:
        connection.execute(
            "insert into webhook values ('demo', 'hook', 'http://127.0.0.1:9/', 'hook', true) on conflict do nothing"
        )


async def asked(office: Office, reference: str, **changed: Any) -> str:
    """A case whose applicant was asked for a piece just now."""
    case = await office.open(reference, SOME, **changed)
    await office.perform(await office.here(case))
    await office.examine(await office.here(case))
    await office.act(CLERK, case, TaskAct.APPROVE)
    await office.drain(case)
    assert (await office.perform(await office.here(case))).step == "await_pieces"
    return case


async def due(office: Office, case: str, place: int = 0) -> datetime:
    at = (await office.row(case)).state.reminders[place].due_at
    assert at is not None
    return at


async def reminded(office: Office, case: str) -> list[str]:
    return [letter.id for letter in await office.letters(case) if letter.kind == "reminder"]


async def told(office: Office, case: str, type_: str) -> list[Any]:
    rows = await asyncio.to_thread(
        office.stored,
        "select payload->'data' from outbox where case_id = %s and type = %s order by created_at",
        case,
        type_,
    )
    return [row[0] for row in rows]


@pytest.mark.parametrize("language", list(Language))
async def test_an_applicant_is_reminded_once_on_the_day_in_the_case_s_language(
    office: Office, language: Language
) -> None:
    case = await asked(office, f"reminded-{language.value}", language=language)
    at = await due(office, case)
    office.clock.now = at - MOMENT
    assert (await office.wake(case)).wake_at == at
    assert await reminded(office, case) == []
    office.clock.now = at
    plan = await office.wake(case)
    row = await office.row(case)
    assert (plan.step, plan.wake_at) == ("await_pieces", row.state.periods["pieces"].due_at)
    office.clock.now = at + DAY
    await office.wake(case)
    assert await reminded(office, case) == [f"{case}/await_pieces/1/reminder-1"]
    *_, request, letter = await office.letters(case)
    content = letter_content.validate_python(letter.content)
    assert content.kind == "reminder"
    assert (letter.language, letter.number, letter.made_at) == (language.value, f"{row.number}/3", at)
    assert (content.request, content.asked_on) == (request.number, content.asked_on)
    assert content.until == row.state.periods["pieces"].due_on
    assert [piece.label for piece in content.pieces] == [each["label"] for each in request.content["pieces"]]
    assert [sent.status for sent in await office.notifications(case)] == ["sent"] * 3
    assert (await told(office, case, "diwan.letter.issued"))[-1]["kind"] == "reminder"
    entry = (await office.entries(case, ISSUED))[-1]
    assert (entry.at, b'"reminder":1' in entry.header) == (at, True)


async def test_nobody_is_reminded_who_has_answered(office: Office) -> None:
    """The answer is in the inbox, and nobody has taken it up: the reminder's day comes meanwhile."""
    case = await asked(office, "answered")
    at = await due(office, case)
    office.clock.now = at + MOMENT
    await office.tell(case, PIECES_SUPPLIED, MISSING)
    assert (await office.wake(case)).step == "examine"
    assert await reminded(office, case) == []


async def test_an_answer_that_comes_while_the_letter_is_being_set_counts_before_it(office: Office) -> None:
    case = await asked(office, "crossing")
    office.clock.now = await due(office, case)

    async def typeset(letter: Letter) -> bytes:
        await office.tell(case, PIECES_SUPPLIED, MISSING)
        return await render_letter(letter)

    sending = Reminders(office.worker, office.keyring, typeset, office.clock, watch_on(office.machine))
    assert await sending.send_next(CaseRef(tenant=TENANT, case=case)) is True, "there is something to take first"
    assert (await office.wake(case)).step == "examine"
    assert await reminded(office, case) == []


async def test_several_workers_at_once_send_one_reminder(office: Office) -> None:
    """A local activity may run twice at once: its first worker is taken for dead and is not."""
    case = await asked(office, "at-once")
    office.clock.now = await due(office, case)
    await asyncio.gather(*(office.wake(case) for _ in range(4)))
    assert len(await reminded(office, case)) == 1
    assert len(await office.notifications(case)) == 3
    numbers = [letter.number.rpartition("/")[2] for letter in await office.letters(case)]
    assert numbers == ["1", "2", "3"]


async def test_a_reminder_is_held_while_dates_stand_still(office: Office) -> None:
    case = await asked(office, "frozen")
    at = await due(office, case)
    office.clock.now = at - DAY / 2
    async with office.worker.transaction(TENANT) as conn:
        assert not (await watch_on(office.machine).look(conn, TENANT)).frozen
    office.machine.ahead = DAY
    assert (await office.wake(case)).wake_at is None, "nothing to wait for"
    assert await reminded(office, case) == []
    async with office.worker.transaction(TENANT) as conn:
        since = (await watch_on(office.machine).look(conn, TENANT)).frozen_at
    assert since is not None
    office.machine.ahead = timedelta(0)
    cipher = await office.keyring.cipher(TENANT, CHAIN)
    async with office.web.transaction(TENANT) as conn:
        await watch_on(office.machine).confirm(conn, SUPERVISOR, Finding.CORRECTED, since, "Set back.", cipher)
    assert (await office.wake(case)).wake_at == at, "its day is still to come"
    assert await reminded(office, case) == []
    office.clock.now = at
    await office.wake(case)
    assert len(await reminded(office, case)) == 1


async def test_whoever_has_a_task_is_told_before_the_target_and_the_supervisor_after_it(office: Office) -> None:
    case = await office.reviewed("a-task")
    (task,) = await office.tasks(case)
    assert task.due_at == (await office.row(case)).state.periods["examination"].due_at, "not that of a reminder"
    before, after = [await due(office, case, place) for place in (0, 1)]
    for at, roles in ((before, ["clerk"]), (after, ["supervisor"])):
        office.clock.now = at
        await office.wake(case)
        await office.wake(case)
        notice = (await told(office, case, "diwan.task.reminded"))[-1]
        assert (notice["task"], notice["roles"], notice["period"]) == (task.id, roles, "examination")
        (task,) = await office.tasks(case)
        assert (task.reminded_at, task.status) == (at, TaskStatus.OPEN)
    assert len(await told(office, case, "diwan.task.reminded")) == len(await office.entries(case, NOTICE)) == 2
    assert [letter.kind for letter in await office.letters(case)] == ["receipt"]


async def test_nobody_is_told_of_a_task_that_was_done(office: Office) -> None:
    case = await office.reviewed("done-in-time")
    office.clock.now = await due(office, case)
    await office.act(CLERK, case, TaskAct.APPROVE)
    assert (await office.wake(case)).step == "sign"
    assert await office.entries(case, NOTICE) == []


async def test_nobody_is_reminded_of_what_is_too_late(office: Office) -> None:
    """Nothing ran for weeks; the applicant's time is over when somebody looks."""
    case = await asked(office, "too-late")
    office.clock.now = (await office.row(case)).state.periods["pieces"].due_at + MOMENT
    assert (await office.wake(case)).step == "examine"
    assert await reminded(office, case) == []


async def test_a_reminder_that_cannot_be_set_keeps_no_date_from_falling(office: Office) -> None:
    case = await asked(office, "cannot-be-set")

    async def typeset(letter: Letter) -> bytes:
        raise Final("letter.not_set", "The letter could not be typeset.")

    watch = watch_on(office.machine)
    broken = Reminders(office.worker, office.keyring, typeset, office.clock, watch)
    casework = CaseActivities(
        *(office.worker, office.keyring, office.correspondence, broken, office.machine.wall, watch)
    )
    office.clock.now = await due(office, case)
    ref = CaseRef(tenant=TENANT, case=case)
    with pytest.raises(Final):
        await ActivityEnvironment().run(casework.wake, ref)
    await office.block(case, "letter.not_set")
    assert (await office.row(case)).blocked == "letter.not_set"
    office.clock.now = (await office.row(case)).state.periods["pieces"].due_at
    assert (await ActivityEnvironment().run(casework.wake, ref)).step == "examine"


async def test_a_reminder_that_goes_out_at_last_ends_the_block(office: Office) -> None:
    case = await asked(office, "at-last")
    office.clock.now = await due(office, case)
    await office.block(case, "letter.not_set")
    assert (await office.wake(case)).blocked == ""
    assert len(await reminded(office, case)) == 1
