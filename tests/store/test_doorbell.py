"""Which cases the relay rings: what is unconsumed, overdue, or at work and long silent; each with its pause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from diwan.domain.actor import system
from diwan.domain.case import StepKind
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.doorbell import OVERDUE, SILENT, Bell, cases_to_ring, mark_rung
from diwan.store.inbox import consume, pending
from tests.store.conftest import Opened
from tests.support.factories import TENANT

pytestmark = pytest.mark.usefixtures("demo")


@pytest.fixture
def relay(connect: Callable[[str], Database]) -> Database:
    return connect("diwan_relay")


async def bells(relay: Database, now: datetime) -> dict[str, Bell]:
    async with relay.transaction(None) as conn:
        return {bell.case: bell for bell in await cases_to_ring(conn, now)}


async def ring(relay: Database, bell: Bell, now: datetime) -> None:
    async with relay.transaction(None) as conn:
        await mark_rung(conn, bell, now)


async def settle(worker: Database, case: str, now: datetime, kind: StepKind, wake_at: datetime | None = None) -> None:
    """Consumes what came in and leaves the case at a step of `kind`."""
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=now) as change:
        for event in await pending(conn, TENANT, case, change.cursor):
            await consume(change, event, "test")
        change.plan(kind, wake_at)
        change.record("case:step:moved", system(TENANT, "test"))


async def test_an_unconsumed_event_is_rung_with_growing_pauses(
    relay: Database, worker: Database, open_case: Opened, now: datetime
) -> None:
    case = await open_case("rung")
    at = now
    for pause in (2, 4, 8):
        assert case in await bells(relay, at)
        await ring(relay, (await bells(relay, at))[case], at)
        assert case not in await bells(relay, at + timedelta(seconds=pause - 1))
        at += timedelta(seconds=pause + 1)
    await settle(worker, case, at, StepKind.TASK)
    assert case not in await bells(relay, at + timedelta(days=1))


async def test_an_overdue_date_is_rung(relay: Database, worker: Database, open_case: Opened, now: datetime) -> None:
    case = await open_case("overdue")
    await ring(relay, (await bells(relay, now))[case], now)
    due = now + timedelta(days=3)
    await settle(worker, case, now, StepKind.TASK, wake_at=due)
    assert case not in await bells(relay, due)
    assert case in await bells(relay, due + OVERDUE + timedelta(seconds=1))


@pytest.mark.parametrize("kind", [StepKind.ACT, StepKind.AGENT])
async def test_a_case_at_work_is_rung_again_in_case_its_workflow_is_gone(
    relay: Database, worker: Database, open_case: Opened, now: datetime, kind: StepKind
) -> None:
    case = await open_case(f"silent-{kind.value}")
    await ring(relay, (await bells(relay, now))[case], now)
    await settle(worker, case, now, kind)
    assert case not in await bells(relay, now + SILENT)
    late = now + SILENT + timedelta(seconds=1)
    await ring(relay, (await bells(relay, late))[case], late)
    assert case not in await bells(relay, late + SILENT)
    assert case in await bells(relay, late + SILENT + timedelta(seconds=1))


async def test_a_ring_that_an_event_overtook_is_still_due(
    relay: Database, worker: Database, open_case: Opened, now: datetime
) -> None:
    case = await open_case("overtaken")
    bell = (await bells(relay, now))[case]
    await ring(relay, bell, now)
    stale = replace(bell, rings=7)
    await ring(relay, stale, now)
    assert (await bells(relay, now + timedelta(minutes=2)))[case].rings == 1


async def test_an_event_that_came_after_the_ring_is_rung_for_at_once(
    relay: Database, worker: Database, open_case: Opened, now: datetime
) -> None:
    case = await open_case("overtaken-by-an-event")
    bell = (await bells(relay, now))[case]
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case, now=now) as change:
        change.next_inbox_seq()
        change.record("event:event:accepted", system(TENANT, "test"))
    await ring(relay, bell, now)
    assert case in await bells(relay, now)


@pytest.mark.parametrize("kind", [StepKind.ACT, StepKind.AGENT])
async def test_a_case_whose_ring_was_never_marked_is_rung_all_the_same(
    relay: Database, worker: Database, open_case: Opened, now: datetime, kind: StepKind
) -> None:
    """The relay died after its ring; the event was taken; then Temporal's data were lost."""
    case = await open_case(f"unmarked-{kind.value}")
    await settle(worker, case, now, kind)
    assert case not in await bells(relay, now)
    assert case in await bells(relay, now + SILENT + timedelta(seconds=1))


async def test_what_rings_do_not_help_is_rung_less_often_after_an_hour(
    relay: Database, open_case: Opened, now: datetime
) -> None:
    case, at = await open_case("long"), now
    for _ in range(61):
        await ring(relay, (await bells(relay, at))[case], at)
        at += timedelta(seconds=61)
    assert case not in await bells(relay, at + timedelta(minutes=3))
    assert case in await bells(relay, at + timedelta(minutes=11))


async def test_cases_that_rings_do_not_help_keep_nobody_waiting(
    relay: Database, open_case: Opened, now: datetime
) -> None:
    """A look takes so many at most: what has news comes before all that were rung for the same thing before."""
    old = [await open_case(f"hopeless-{number}") for number in range(3)]
    for case in old:
        await ring(relay, (await bells(relay, now))[case], now)
    fresh = await open_case("fresh")
    order = list(await bells(relay, now + timedelta(hours=1)))
    assert order.index(fresh) < min(order.index(case) for case in old)
