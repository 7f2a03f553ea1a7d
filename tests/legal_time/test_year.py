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
    await year.until(due - timedelta(hours=12))
    async with office.worker.transaction(TENANT) as conn:
        assert not (await watch_on(office.machine).look(conn, TENANT)).frozen
    office.machine.ahead = timedelta(days=1)
    await year.pass_(minutes=10)
    async with office.worker.transaction(TENANT) as conn:
        since = (await watch_on(office.machine).look(conn, TENANT)).frozen_at
    assert since is not None
    await year.pass_(days=3)  # far past the date, by any clock
    assert (await office.row(case)).state.step == "review"
    cipher = await office.keyring.cipher(TENANT, CHAIN)
    async with office.web.transaction(TENANT) as conn:
        await watch_on(office.machine, "web").confirm(conn, SUPERVISOR, Finding.RIGHT, since, "Compared.", cipher)
    row = await year.arrives(case, "closed")
    assert row.state.result is Result.IMPLIED_REFUSAL
    assert [said["result"] for _, said in await fallen(year, case)] == ["", "implied_refusal"]
