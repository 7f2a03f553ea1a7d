"""A year of a case in seconds: targets, suspension, silence, lapse, on the real workflows and activities."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from diwan.domain.case import CaseStatus, Result
from diwan.domain.clock import Finding
from diwan.domain.event import APPLICATION_WITHDRAWN, PIECES_SUPPLIED
from diwan.domain.task import TaskAct, TaskKind
from diwan.procedures.examples import example_text
from diwan.store.clock_watch import CHAIN
from tests.activities.office import PIECES
from tests.legal_time.year import Year
from tests.support.clocks import watch_on
from tests.support.factories import CLERK, PROCEDURE, SUPERVISOR, TENANT

SOME = {name: text for name, text in PIECES.items() if name != "sale_promise"}
MISSING = {"sale_promise": PIECES["sale_promise"]}


async def opened(year: Year, reference: str, pieces: dict[str, str], **changed: Any) -> str:
    """A case whose workflow has been rung for the first time."""
    await year.tell_time()
    case = await year.office.open(reference, pieces, taken=False, **changed)
    await year.bell.pass_once()
    return case


async def fallen(year: Year, case: str) -> list[tuple[datetime, dict[str, Any]]]:
    entries = await year.office.entries(case, "case:period:expired")
    return [(entry.at, json.loads(entry.header)["detail"]) for entry in entries]


async def test_a_period_stands_still_while_pieces_are_awaited_and_silence_ends_the_case(year: Year) -> None:
    case = await opened(year, "year-silence", SOME)
    row = await year.arrives(case, "request_review")
    first_due = row.state.periods["decision"].due_on
    await year.pass_(days=3)
    await year.office.act(CLERK, case, TaskAct.APPROVE)
    row = await year.arrives(case, "await_pieces")
    assert row.status is CaseStatus.SUSPENDED
    await year.pass_(days=20)
    await year.office.tell(case, PIECES_SUPPLIED, MISSING)
    row = await year.arrives(case, "review")
    decision = row.state.periods["decision"]
    assert (row.status, decision.suspended_days) == (CaseStatus.OPEN, 20)
    assert decision.due_on >= first_due + timedelta(days=20)
    # The target passes: it is noted, and the case goes on where it is.
    target = row.state.periods["examination"]
    await year.until(target.due_at + timedelta(minutes=1))
    row = await year.arrives(case, "review")
    assert row.state.flags == ["late.examination"]
    # Nobody decides: the law does, at the first moment after the last day.
    await year.until(decision.due_at - timedelta(minutes=1))
    assert (await year.office.row(case)).state.step == "review"
    await year.pass_(minutes=2)
    row = await year.arrives(case, "closed")
    assert (row.status, row.state.result) == (CaseStatus.CLOSED, Result.IMPLIED_REFUSAL)
    (noted, _), (ended, said) = await fallen(year, case)
    assert timedelta(0) <= noted - target.due_at < timedelta(minutes=1)
    assert timedelta(0) <= ended - decision.due_at < timedelta(minutes=1)
    assert said["result"] == "implied_refusal"
    assert not [task for task in await year.office.tasks(case) if task.live]


async def reminders_of(year: Year, case: str) -> list[tuple[str, datetime]]:
    """What went out to remind of something, to whom, and when."""
    letters = [("applicant", each.made_at) for each in await year.office.letters(case) if each.kind == "reminder"]
    notices = await year.office.entries(case, "task:reminder:sent")
    return letters + [(str(json.loads(each.header)["detail"]["to"]), each.at) for each in notices]


async def test_an_applicant_is_reminded_once_on_its_day_and_not_after_the_answer(year: Year) -> None:
    silent, answers = [await opened(year, f"year-reminded-{name}", SOME) for name in ("silent", "answers")]
    for case in (silent, answers):
        await year.arrives(case, "request_review")
        await year.office.act(CLERK, case, TaskAct.APPROVE)
        row = await year.arrives(case, "await_pieces")
        assert row.status is CaseStatus.SUSPENDED, "the periods for the decision stand still; the applicant's runs"
    day = (await year.office.row(silent)).state.reminders[0].due_at
    assert day is not None
    assert day < row.state.periods["pieces"].due_at - timedelta(days=5)
    await year.until(day - timedelta(minutes=1))
    assert await reminders_of(year, silent) == []
    await year.office.tell(answers, PIECES_SUPPLIED, MISSING)  # a minute before its reminder, and nobody is rung
    await year.silently_until(day + timedelta(minutes=1))
    await year.bell.pass_once()
    await year.arrives(answers, "review")
    await year.arrives(silent, "await_pieces", reminded=1)
    await year.pass_(days=3)
    ((whom, at),) = await reminders_of(year, silent)
    assert (whom, timedelta(0) <= at - day < timedelta(minutes=1)) == ("applicant", True)
    assert await reminders_of(year, answers) == []
    await year.until(row.state.periods["pieces"].due_at + timedelta(minutes=1))
    await year.arrives(silent, "review")
    assert len(await reminders_of(year, silent)) == 1


async def test_those_who_have_a_task_are_told_of_a_target_that_nears_and_passes_but_not_while_it_stands_still(
    year: Year,
) -> None:
    case = await opened(year, "year-reminded-clerk", SOME)
    first = (await year.arrives(case, "request_review")).state.periods["examination"].due_at
    await year.office.act(CLERK, case, TaskAct.APPROVE)
    await year.arrives(case, "await_pieces")
    await year.pass_(days=20)
    await year.office.tell(case, PIECES_SUPPLIED, MISSING)
    state = (await year.arrives(case, "review")).state
    before, after = (each.due_at for each in state.reminders)
    assert before is not None
    assert after is not None
    assert first < before < state.periods["examination"].due_at <= after, "counted from where it ends now"
    await year.until(first + timedelta(minutes=1))
    assert await reminders_of(year, case) == []
    for sent, day in enumerate((before, after), start=1):
        await year.until(day)
        await year.arrives(case, "review", reminded=sent)
    await year.pass_(days=2)
    assert (await year.arrives(case, "review")).state.flags == ["late.examination"]
    told = await reminders_of(year, case)
    assert [whom for whom, _ in told] == ["clerk", "supervisor"]
    assert all(
        timedelta(0) <= at - due < timedelta(minutes=1) for (_, at), due in zip(told, (before, after), strict=True)
    )


async def jumped_a_day(year: Year, *, before: datetime) -> datetime:
    """Half a day before, the machine's clock jumps by a whole one; since when the legal dates stand still."""
    office = year.office
    await year.until(before - timedelta(hours=12))
    async with office.worker.transaction(TENANT) as conn:
        assert not (await watch_on(office.machine).look(conn, TENANT)).frozen
    office.machine.ahead = timedelta(days=1)
    await year.pass_(minutes=10)
    async with office.worker.transaction(TENANT) as conn:
        since = (await watch_on(office.machine).look(conn, TENANT)).frozen_at
    assert since is not None
    return since


async def test_a_clock_that_jumped_a_day_sends_no_reminder_before_a_person_confirms(year: Year) -> None:
    case = await opened(year, "year-reminded-jump", PIECES)
    office = year.office
    day = (await year.arrives(case, "review")).state.reminders[0].due_at
    assert day is not None
    since = await jumped_a_day(year, before=day)
    await year.pass_(days=1)  # past its day by any clock
    assert await reminders_of(year, case) == []
    cipher = await office.keyring.cipher(TENANT, CHAIN)
    async with office.web.transaction(TENANT) as conn:
        await watch_on(office.machine, "web").confirm(conn, SUPERVISOR, Finding.RIGHT, since, "Compared.", cipher)
    await year.pass_(minutes=2)
    await year.arrives(case, "review", reminded=1)
    assert [whom for whom, _ in await reminders_of(year, case)] == ["clerk"]


async def test_an_application_lapses_whose_pieces_never_come(year: Year) -> None:
    text = example_text(PROCEDURE).replace(f"name: {PROCEDURE}", "name: housing-lapse", 1)
    at = text.index("      - {to: examine}\n", text.index("    period: pieces\n"))
    await year.publish(f"{text[:at]}      - {{on: expired, to: closed, result: lapsed}}\n{text[at:]}")
    case = await opened(year, "year-lapse", SOME, procedure="housing-lapse")
    await year.arrives(case, "request_review")
    await year.office.act(CLERK, case, TaskAct.APPROVE)
    row = await year.arrives(case, "await_pieces")
    due = row.state.periods["pieces"].due_at
    await year.until(due - timedelta(minutes=1))
    assert (await year.office.row(case)).state.step == "await_pieces"
    await year.pass_(minutes=2)
    row = await year.arrives(case, "closed")
    assert row.state.result is Result.LAPSED


async def test_silence_grants_where_the_law_says_so(year: Year) -> None:
    text = example_text(PROCEDURE).replace(f"name: {PROCEDURE}", "name: housing-grant", 1)
    await year.publish(text.replace("result: implied_refusal", "result: implied_grant"))
    case = await opened(year, "year-grant", PIECES, procedure="housing-grant")
    row = await year.arrives(case, "review")
    await year.until(row.state.periods["decision"].due_at + timedelta(minutes=1))
    assert (await year.arrives(case, "closed")).state.result is Result.IMPLIED_GRANT


@pytest.mark.parametrize(
    ("offset", "result"),
    [(-timedelta(minutes=1), Result.WITHDRAWN), (timedelta(minutes=1), Result.IMPLIED_REFUSAL)],
    ids=["a minute before", "a minute after"],
)
async def test_an_event_counts_when_it_was_accepted_however_long_temporal_was_down(
    year: Year, offset: timedelta, result: Result
) -> None:
    """Temporal has no workflow of the case from before the date until two days after: it was down, or lost all."""
    await year.tell_time()
    case = await year.office.reviewed(f"year-down-{result.value}")
    due = (await year.office.row(case)).state.periods["decision"].due_at
    await year.silently_until(due + offset)
    await year.office.tell(case, APPLICATION_WITHDRAWN)
    await year.silently_until(due + timedelta(days=2))
    await year.bell.pass_once()
    row = await year.arrives(case, "closed")
    assert row.state.result is result
    late = [task for task in await year.office.tasks(case, TaskKind.LATE_EVENT) if task.live]
    assert len(late) == (result is Result.IMPLIED_REFUSAL)


async def test_a_clock_that_jumped_over_the_date_ends_nothing_until_a_person_confirms(year: Year) -> None:
    case = await opened(year, "year-jump", PIECES)
    due = (await year.arrives(case, "review")).state.periods["decision"].due_at
    office = year.office
    since = await jumped_a_day(year, before=due)
    await year.pass_(days=3)  # far past the date, by any clock
    assert (await office.row(case)).state.step == "review"
    cipher = await office.keyring.cipher(TENANT, CHAIN)
    async with office.web.transaction(TENANT) as conn:
        await watch_on(office.machine, "web").confirm(conn, SUPERVISOR, Finding.RIGHT, since, "Compared.", cipher)
    row = await year.arrives(case, "closed")
    assert row.state.result is Result.IMPLIED_REFUSAL
    assert [said["result"] for _, said in await fallen(year, case)] == ["", "implied_refusal"]
