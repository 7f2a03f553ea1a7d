"""Temporal loses everything, an administrator resets and ends workflows, workers run with a bug: cases go on.

Each where it was, none twice; and an independent checker (tests/faults) finds nothing to say about the whole.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from temporalio.client import Client, WorkflowExecutionStatus

from diwan.recovery import Found, Sweeper, look
from diwan.store.database import Database
from diwan.temporal import connect
from tests.faults.checker import check
from tests.faults.evidence import Evidence, Sent
from tests.scenario.by_hand import diwan, supply
from tests.scenario.conftest import an_office
from tests.scenario.office import EXAMPLE, SOURCE, Json, Office, follow_up, open_here
from tests.support.histories import reset_to_start

REFUSED, PIECES = EXAMPLE / "03-french-permit-too-old", EXAMPLE / "02-french-promise-missing"
WITHDRAWN = "diwan.application.withdrawn"
PATIENCE_S = 240.0
BUG = "run/bug"


@pytest.fixture(scope="module")
async def office() -> AsyncGenerator[Office]:
    """Agents wait long for an engine here, and its processes are those of `faulty.py`: with a bug, where one is set."""
    async with an_office(agent_patience_s=900, module="tests.scenario.faulty") as made:
        yield made


async def temporal(office: Office) -> Client:
    return await connect(office.stack.urls.temporal, "diwan")


async def until(arrived: Callable[[], Awaitable[bool]]) -> None:
    """Asks again and again: nothing signals what is waited for here."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await arrived():
                return
            await asyncio.sleep(0.2)


# --- cases in every state -------------------------------------------------------------------------------------------


class Cases:
    """Opens cases and brings each where it should be; three at a time."""

    def __init__(self, office: Office, sent: list[Sent]) -> None:
        self.office = office
        self.numbers: dict[str, str] = {}
        self.sent = sent
        self.withdraw: set[str] = set()  # what the applicant does instead of sending the piece
        self._places = asyncio.Semaphore(3)

    async def several(
        self, name: str, count: int, bring: Callable[[Office, str], Awaitable[None]], **more: Any
    ) -> list[str]:
        return await asyncio.gather(*(self._one(f"{name}-{number}", bring, **more) for number in range(count)))

    async def _one(
        self, reference: str, bring: Callable[[Office, str], Awaitable[None]], *, folder: Any = REFUSED
    ) -> str:
        async with self._places:
            accepted = await self.office.submit(folder, reference)
            case = str(accepted["case"])
            self.numbers[case] = str(accepted["number"])
            self._accepted(f"event-{reference}", case)
            await bring(self.office, case)
            return case

    async def tell(self, case: str, kind: str) -> None:
        id_ = f"{kind}-{case}"
        answer = await self.office.send(follow_up(kind, self.numbers[case], id_, {}))
        assert answer.status_code == 202, answer.text
        self._accepted(id_, case)

    def _accepted(self, id_: str, case: str) -> None:
        self.sent.append(Sent(SOURCE, id_, id_, 202, case, self.numbers[case]))

    async def to_the_end(self, case: str) -> Json:
        """Everybody does what is asked, until the case is closed."""
        seen: tuple[str, int] | None = None
        while True:

            def asks(view: Json, left: tuple[str, int] | None = seen) -> bool:
                waits = view["kind"] == "wait" or open_here(view)
                return view["status"] == "closed" or bool(waits and (view["step"], view["visit"]) != left)

            view = await self.office.case_when(case, asks)
            if view["status"] == "closed":
                return view
            seen = (view["step"], view["visit"])
            if view["kind"] == "wait" and case in self.withdraw:
                await self.tell(case, WITHDRAWN)
            elif view["kind"] == "wait":
                await supply(self.office, PIECES, self.numbers[case])
                self._accepted(f"pieces-{self.numbers[case]}", case)
            else:
                user = "authority" if view["step"] == "sign" else "clerk"
                await self.office.approve(user, await self.office.at(case, *seen))


async def opened(_office: Office, _case: str) -> None:
    return


async def at_review(office: Office, case: str) -> None:
    await office.at(case, "review")


async def at_signature(office: Office, case: str) -> None:
    await office.approve("clerk", await office.at(case, "review"))
    await office.at(case, "sign")


async def awaiting_pieces(office: Office, case: str) -> None:
    await office.approve("clerk", await office.at(case, "request_review"))
    await office.case_when(case, lambda view: view["step"] == "await_pieces" and view["status"] == "suspended")


async def at_work(office: Office, case: str) -> None:
    """An agent run has begun, and waits for a model."""
    await office.case_when(case, lambda view: view["step"] == "examine")
    client = await temporal(office)

    async def calls() -> bool:
        there = [run async for run in client.list_workflows(f"WorkflowId = 'demo/{case}/examine/1'")]
        return bool(there) and any(
            each.activity_task_scheduled_event_attributes.activity_type.name == "call_model"
            for each in (await client.get_workflow_handle(f"demo/{case}/examine/1").fetch_history()).events
        )

    await until(calls)


async def standing(office: Office, case: str) -> tuple[Any, ...]:
    view = await office.get("auditor", f"/v1/cases/{case}")
    return (view["step"], view["visit"], view["status"], sorted((task["id"], task["status"]) for task in view["tasks"]))


async def entries(office: Office, case: str, kind: str) -> int:
    story = (await office.get("auditor", f"/v1/cases/{case}/story?limit=200"))["items"]
    return sum(entry["kind"] == kind for entry in story)


def judged(office: Office, sent: list[Sent]) -> list[str]:
    """What the independent checker says, of this office's cases with these events among them."""
    report = check(Evidence(database=office.stack.database_url("postgres"), sent=sent))
    return [str(finding) for finding in report.findings]


# --- Temporal's data are lost ---------------------------------------------------------------------------------------


async def test_twenty_open_cases_outlive_temporal(office: Office, everything: list[Sent]) -> None:
    cases = Cases(office, everything)
    pieces = await cases.several("pieces", 4, awaiting_pieces, folder=PIECES)
    cases.withdraw = set(pieces[1:])  # all are of one person, who is granted aid once
    waiting = [
        *pieces,
        *await cases.several("review", 4, at_review),
        *await cases.several("sign", 3, at_signature),
    ]
    told = await cases.several("told", 4, at_review)
    await office.stack.stop_part("pool")
    working = await cases.several("agent", 3, at_work)
    await office.stack.stop_part("relay")
    for case in told[:2]:
        await office.approve("clerk", await office.at(case, "review"))
    for case in told[2:]:
        await cases.tell(case, WITHDRAWN)
    unheard = await cases.several("unheard", 2, opened)
    before = {case: await standing(office, case) for case in waiting}
    assert len(cases.numbers) == 20

    await office.stack.stop()
    shutil.rmtree(office.stack.home.path / "temporal")
    await office.stack.start()

    rows = {row["id"]: row for row in await diwan(office, "doctor", "--repair")}
    assert set(rows) >= {*waiting, *working}
    assert all(rows[case]["found"] == "no_workflow" and rows[case]["done"] == "rung" for case in waiting)
    client = await temporal(office)
    for case in (*waiting, *working):
        assert await look(client, "demo", case, datetime.now(UTC)) is Found.RUNNING
    again = await diwan(office, "doctor", "--repair")
    assert {row["found"] for row in again} == {"running"}
    assert {case: await standing(office, case) for case in waiting} == before

    # All are worked to their end.
    ends = await asyncio.gather(*(cases.to_the_end(case) for case in cases.numbers))
    results = {view["id"]: view["result"] for view in ends}
    assert {results[case] for case in (*told[2:], *pieces[1:])} == {"withdrawn"}
    assert results[pieces[0]] == "granted"
    assert {results[case] for case in (*working, *unheard, *told[:2])} == {"refused"}
    for case in working:
        assert await entries(office, case, "agent:run:started") == 1
    assert judged(office, everything) == []


# --- an administrator interferes ------------------------------------------------------------------------------------


async def test_reset_and_terminated_workflows_go_on(office: Office, everything: list[Sent]) -> None:
    cases, client = Cases(office, everything), await temporal(office)
    reset, ended = await cases.several("at-rest", 2, at_review)
    await office.stack.stop_part("pool")
    reset_at_work, ended_at_work = await cases.several("at-work", 2, at_work)

    for case in (reset, reset_at_work):
        await reset_to_start(client, f"demo/{case}")
    for case in (ended, ended_at_work):
        await client.get_workflow_handle(f"demo/{case}").terminate("a test")
    await office.stack.start_part("pool")
    rows = {row["id"]: row for row in await diwan(office, "doctor", "--repair")}
    assert {rows[case]["done"] for case in (ended, ended_at_work)} == {"rung"}

    for case in (reset, ended, reset_at_work, ended_at_work):
        assert (await cases.to_the_end(case))["result"] == "refused"
        assert await entries(office, case, "agent:run:started") == 1
        assert await entries(office, case, "agent:run:ended") == 1
        assert await entries(office, case, "case:decision:issued") == 1
    assert judged(office, everything) == []


# --- a worker with a bug --------------------------------------------------------------------------------------------


async def worker_with(office: Office, bug: str) -> None:
    """Restarts the worker with a bug of that name in its code, or without one."""
    await office.stack.stop_part("worker")
    place = office.stack.home.path / BUG
    if bug:
        place.write_text(bug)
    else:
        place.unlink()
    await office.stack.start_part("worker")


async def test_a_bug_in_an_activity_blocks_the_case_until_it_is_mended(office: Office, everything: list[Sent]) -> None:
    cases = Cases(office, everything)
    await worker_with(office, "activity")
    (case,) = await cases.several("activity-bug", 1, opened)

    async def blocked() -> bool:
        return bool((await office.get("auditor", f"/v1/cases/{case}"))["blocked"])

    await until(blocked)
    assert await entries(office, case, "case:case:blocked") == 1
    log = [json.loads(line) for line in (office.stack.home.logs / "worker.log").read_text().splitlines()]
    alerts = [line for line in log if line.get("event") == "case.blocked" and line.get("case") == case]
    assert [(line["level"], line["code"]) for line in alerts] == [("error", "ZeroDivisionError")]
    examined = {found["what"]: found for found in await diwan(office, "doctor", expect=1)}
    assert "ZeroDivisionError" in examined[f"case {cases.numbers[case]}"]["detail"]
    assert examined["order of calls"]["state"] == "ok"

    await worker_with(office, "")
    await diwan(office, "doctor", "--repair", expect=1)  # rings it; it was blocked when it was looked at

    async def unblocked() -> bool:
        return not await blocked()

    await until(unblocked)
    assert (await cases.to_the_end(case))["result"] == "refused"
    assert judged(office, everything) == []


async def test_a_bug_in_workflow_code_fails_no_case_and_is_named(office: Office, everything: list[Sent]) -> None:
    cases, client = Cases(office, everything), await temporal(office)
    await worker_with(office, "workflow")
    (case,) = await cases.several("workflow-bug", 1, opened)

    async def found(what: Found) -> bool:
        return await look(client, "demo", case, datetime.now(UTC)) is what

    await until(lambda: found(Found.FAILING))
    assert (await client.get_workflow_handle(f"demo/{case}").describe()).status is WorkflowExecutionStatus.RUNNING

    # The sweeper names it, as soon as it has taken too long.
    db = Database.connect(office.stack.database_url("diwan_relay"), role="diwan_relay", pool_size=1)
    sweeper = Sweeper(db, client, lambda: datetime.now(UTC) + timedelta(minutes=6))
    with structlog.testing.capture_logs() as logs:
        await sweeper.pass_once()
        await sweeper.pass_once()
    await db.dispose()
    named = [line for line in logs if line["event"] == "case.stuck"]
    assert [(line["case"], line["why"], line["workflow"], line["log_level"]) for line in named] == [
        (case, "silent", "failing", "error")
    ]

    await worker_with(office, "")
    await until(lambda: found(Found.RUNNING))
    assert (await cases.to_the_end(case))["result"] == "refused"
    assert judged(office, everything) == []


async def test_a_case_that_cannot_go_on_under_this_code_is_begun_anew(office: Office, everything: list[Sent]) -> None:
    """Its history was made by code that did things in another order."""
    cases, client = Cases(office, everything), await temporal(office)
    await worker_with(office, "order")
    (case,) = await cases.several("other-order", 1, at_review)
    await worker_with(office, "")
    await office.approve("clerk", await office.at(case, "review"))

    async def failing() -> bool:
        return await look(client, "demo", case, datetime.now(UTC)) is Found.FAILING

    await until(failing)
    (row,) = [row for row in await diwan(office, "doctor", "--repair") if row["id"] == case]
    assert (row["found"], row["done"]) == ("failing", "begun anew")
    assert (await cases.to_the_end(case))["result"] == "refused"
    assert judged(office, everything) == []


@pytest.fixture(scope="module")
def everything() -> list[Sent]:
    """All that was sent to the office so far."""
    return []
