"""Which cases are stuck: each reason is found and named, and whoever only waits is left alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from diwan.domain.actor import system
from diwan.domain.case import CaseStatus, PeriodState, StepKind
from diwan.store import tasks
from diwan.store.change import Change, change_case
from diwan.store.database import Database
from diwan.store.inbox import consume, pending
from diwan.store.stuck import Stuck, Why, counts, open_cases, stuck_cases
from tests.store.conftest import Opened, ReviewOpened
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT

pytestmark = pytest.mark.usefixtures("demo")

LATER = timedelta(minutes=30)
Settle = Callable[[Change], None]


@pytest.fixture
def relay(connect: Callable[[str], Database]) -> Database:
    return connect("diwan_relay")


async def settle(worker: Database, case: str, now: datetime, how: Settle) -> None:
    """Takes what came in and leaves the case as `how` says."""
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=now) as change:
        for event in await pending(conn, TENANT, case, change.cursor):
            await consume(change, event, "test")
        how(change)
        change.record("case:step:moved", system(TENANT, "test"))


async def stuck(relay: Database, at: datetime) -> dict[str, Stuck]:
    async with relay.transaction(None) as conn:
        return {each.case: each for each in await stuck_cases(conn, at)}


def blocked(change: Change) -> None:
    change.blocked = "letter.impossible"


def act(change: Change) -> None:
    change.plan(StepKind.ACT, None)


def agent(change: Change) -> None:
    change.plan(StepKind.AGENT, None)


def dated(change: Change) -> None:
    change.plan(StepKind.WAIT, change.now + timedelta(minutes=10))


def undated(change: Change) -> None:
    change.plan(StepKind.WAIT, None)


def person(change: Change) -> None:
    change.plan(StepKind.TASK, None)
    change.state.step, change.state.visit = "review", 1


def suspended(change: Change) -> None:
    undated(change)
    day = change.now.date()
    change.state.periods["instruct"] = PeriodState(started_on=day, due_on=day, due_at=change.now, suspended_on=day)
    change.status = CaseStatus.SUSPENDED


def ended(change: Change) -> None:
    change.plan(StepKind.END, None)
    change.closed(change.now)


def future(change: Change) -> None:
    change.plan(StepKind.WAIT, change.now + timedelta(days=30))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (blocked, Why.BLOCKED),
        (act, Why.SILENT),
        (agent, Why.SILENT),
        (dated, Why.OVERDUE),
        (undated, Why.NO_DATE),
        (person, Why.NO_TASK),
        (suspended, None),
        (ended, None),
        (future, None),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
async def test_each_reason_is_found(
    relay: Database, worker: Database, open_case: Opened, now: datetime, how: Settle, why: Why | None
) -> None:
    case = await open_case(f"stuck-{how.__name__}")
    await settle(worker, case, now, how)
    found = (await stuck(relay, now + LATER)).get(case)
    assert (found.why if found else None) == why
    if how is agent:
        assert case not in await stuck(relay, now + timedelta(minutes=19))
    if how is act:
        assert case in await stuck(relay, now + timedelta(minutes=6))
    if how is blocked:
        assert found is not None
        assert (found.blocked, found.number[:3]) == ("letter.impossible", "DW-")


async def test_an_event_that_nobody_takes(relay: Database, open_case: Opened, now: datetime) -> None:
    case = await open_case("stuck-unconsumed")
    assert case not in await stuck(relay, now + timedelta(minutes=1))
    found = (await stuck(relay, now + timedelta(minutes=3)))[case]
    assert (found.why, found.since, found.events) == (Why.UNCONSUMED, now, 1)


async def test_a_person_who_is_asked_may_take_her_time(
    relay: Database, worker: Database, open_case: Opened, open_task: ReviewOpened, now: datetime
) -> None:
    case = await open_case("asked")
    await settle(worker, case, now, person)
    assert case in await stuck(relay, now + LATER)
    await open_task(case)
    assert case not in await stuck(relay, now + timedelta(days=90))
    # A task about a late event asks nobody to move the case, and a cancelled one nobody at all.
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=now) as change:
        await tasks.cancel_open_tasks(change)
        change.record("case:step:moved", system(TENANT, "test"))
    assert (await stuck(relay, now + LATER))[case].why is Why.NO_TASK


async def test_a_date_that_stands_still_is_not_overdue(
    relay: Database, worker: Database, open_case: Opened, demo: TestDatabase, now: datetime
) -> None:
    case = await open_case("stands-still")
    await settle(worker, case, now, dated)
    with demo.superuser() as connection:
        connection.execute("UPDATE clock_watch SET frozen_at = %(at)s, stands_at = %(at)s, reason = 'x'", {"at": now})
        assert case not in await stuck(relay, now + LATER)
        connection.execute("UPDATE clock_watch SET frozen_at = NULL, stands_at = NULL, reason = ''")
    assert (await stuck(relay, now + LATER))[case].why is Why.OVERDUE


async def test_they_are_counted_by_reason(relay: Database, open_case: Opened, now: datetime) -> None:
    await open_case("counted")
    async with relay.transaction(None) as conn:
        nothing = await counts(conn, now - timedelta(days=1))
        some = await counts(conn, now + LATER)
    assert set(nothing) == set(some) == set(Why)
    assert some[Why.UNCONSUMED] > nothing[Why.UNCONSUMED] == 0


async def test_open_cases_come_in_pages(relay: Database, open_case: Opened) -> None:
    opened = {await open_case(f"page-{number}") for number in range(3)}
    found: list[str] = []
    after = ("", "")
    async with relay.transaction(None) as conn:
        while page := await open_cases(conn, after=after, limit=2):
            assert len(page) <= 2
            found += [each.case for each in page]
            after = (page[-1].tenant, page[-1].case)
    assert opened <= set(found)
    assert len(found) == len(set(found))


async def test_no_sequence_of_all_cases_is_read_to_ring(demo: TestDatabase) -> None:
    """Every arm of the relay's question has its index: it is asked five times a second."""
    with demo.superuser() as connection:
        connection.execute("SET enable_seqscan = off")
        plan = "\n".join(
            str(row[0])
            for row in connection.execute(
                "EXPLAIN SELECT id FROM case_file WHERE (inbox_last > inbox_cursor AND rings = 0) "
                "OR (wake_at < now() AND rings = 0) "
                "OR (kind IN ('act', 'agent') AND coalesce(rung_at, opened_at) < now())"
            )
        )
    assert {"case_file_unconsumed", "case_file_waking", "case_file_working"} <= set(plan.split()), plan
