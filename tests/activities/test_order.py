"""Within a case the order of instants is that of the commits, whoever waited for whom at midnight."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from diwan.domain.case import Result
from diwan.domain.event import APPLICATION_WITHDRAWN
from diwan.domain.task import TaskAct, TaskKind
from diwan.store import inbox
from tests.activities.office import Clock, Office
from tests.support.factories import CLERK, TENANT

MOMENT = timedelta(milliseconds=100)


class Gate:
    """Whoever goes through `inner` from now on stands in it, `held`, until it is let on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, where: str, name: str) -> None:
        self.held, self._on = asyncio.Event(), asyncio.Event()
        module = importlib.import_module(where)
        inner: Callable[..., Awaitable[object]] = getattr(module, name)

        async def stand(*given: Any, **named: Any) -> object:
            self.held.set()
            await self._on.wait()
            return await inner(*given, **named)

        monkeypatch.setattr(module, name, stand)

    def open(self) -> None:
        self._on.set()


async def someone_waits(office: Office) -> None:
    """Returns when a transaction of the database waits for a lock."""
    waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(office.stored, waiting):  # noqa: ASYNC110 - nothing tells of a lock
            await asyncio.sleep(0.01)


async def waiting_for_its_date(office: Office, reference: str) -> tuple[str, datetime]:
    """A case at its review whose next date is that of the decision, and that date."""
    case = await office.reviewed(reference)
    due = (await office.row(case)).state.periods["decision"].due_at
    office.clock.now = due - timedelta(days=1)
    await office.wake(case)  # the target, which came before
    return case, due


async def acceptance_of(office: Office, case: str) -> datetime:
    async with office.worker.transaction(TENANT) as conn:
        return (await inbox.events_of(conn, TENANT, case))[-1].accepted_at


async def test_an_event_that_waited_while_the_date_decided_comes_after_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, due = await waiting_for_its_date(office, "race-event")
    gate = Gate(monkeypatch, "activities.casework", "read_dossier")
    office.clock.now = due
    waking = asyncio.create_task(office.wake(case))
    await gate.held.wait()  # the date has the case's row, and has not decided yet
    office.clock.now = due - MOMENT
    telling = asyncio.create_task(office.tell(case, APPLICATION_WITHDRAWN))
    await someone_waits(office)
    gate.open()
    assert (await waking).step == "closed"
    await telling
    assert await acceptance_of(office, case) == due, "stamped before the date, and committed after it"
    await office.drain(case)
    assert (await office.row(case)).state.result is Result.IMPLIED_REFUSAL
    (late,) = await office.tasks(case, TaskKind.LATE_EVENT)
    assert late.live


async def test_a_date_that_waited_while_an_event_came_in_comes_after_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, due = await waiting_for_its_date(office, "race-date")
    gate = Gate(monkeypatch, "diwan.store.incoming", "insert_event")
    office.clock.now = due - MOMENT
    telling = asyncio.create_task(office.tell(case, APPLICATION_WITHDRAWN))
    await gate.held.wait()  # the event has the case's row, and is not stored yet
    office.clock.now = due
    waking = asyncio.create_task(office.wake(case))
    await someone_waits(office)
    gate.open()
    await telling
    assert (await waking).step == "withdrawal"
    assert await acceptance_of(office, case) == due - MOMENT


async def test_an_act_that_waited_while_the_date_decided_is_refused(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, due = await waiting_for_its_date(office, "race-act")
    gate = Gate(monkeypatch, "activities.casework", "read_dossier")
    office.clock.now = due
    waking = asyncio.create_task(office.wake(case))
    await gate.held.wait()
    office.clock.now = due - MOMENT
    acting = asyncio.create_task(office.act(CLERK, case, TaskAct.APPROVE))
    await someone_waits(office)
    gate.open()
    assert (await waking).step == "closed"
    with pytest.raises(Exception) as caught:
        await acting
    assert getattr(caught.value, "code", "") == "task.not_open"


async def test_a_date_does_not_fall_before_what_was_committed_while_it_waited(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's clock is behind the web's by a moment: the date decides at the later of the two instants."""
    case, due = await waiting_for_its_date(office, "race-clocks")
    office.clock.now = due + MOMENT
    await office.act(CLERK, case, TaskAct.CLAIM)
    office.clock.now = due - MOMENT
    assert (await office.wake(case)).step == "closed"
    assert (await office.entries(case, "case:period:expired"))[-1].at == due + MOMENT


async def test_a_clock_that_was_wrong_by_hours_is_not_taken_for_another_s(office: Office) -> None:
    case = await office.reviewed("race-wrong")
    clock: Clock = office.clock
    now = clock.now
    clock.now = now + timedelta(hours=5)
    await office.act(CLERK, case, TaskAct.CLAIM)
    clock.now = now + timedelta(minutes=1)
    await office.act(CLERK, case, TaskAct.RELEASE)
    entries = await office.entries(case, "task:act:recorded")
    assert [entry.at - now for entry in entries] == [timedelta(hours=5), timedelta(minutes=1)]
