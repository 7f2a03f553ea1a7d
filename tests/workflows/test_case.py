"""The case workflow: it does what Postgres says comes next, hears the bell, keeps dates, and survives what fails."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from agents.loop import Turn, TurnKind
from diwan.domain.case import StepKind
from diwan.domain.errors import NeedsPerson
from tests.workflows.conftest import Desk, plan, started, workers

END = plan("closed", StepKind.END)
RECEIPT = plan("receipt", StepKind.ACT)
REVIEW = plan("review", StepKind.TASK)
EXAMINE = plan("examine", StepKind.AGENT)
WITHDRAWAL = plan("withdrawal", StepKind.ACT)


async def looked(handle: WorkflowHandle[Any, Any], desk: Desk, times: int) -> None:
    """Returns when the workflow has drained the inbox so often; each query is answered after what it does now."""
    async with asyncio.timeout(30):
        while desk.log.count("drain_inbox") < times:
            await handle.query("__stack_trace")


async def test_it_carries_out_what_comes_next_until_the_end(temporal: Client, desk: Desk) -> None:
    desk.plans = [RECEIPT, plan("letter", StepKind.ACT), END]
    async with workers(temporal, desk):
        await (await started(temporal)).result()
    assert desk.log == ["load_case", "perform receipt", "perform letter"]


async def test_a_ring_makes_it_look_into_the_inbox(temporal: Client, desk: Desk) -> None:
    desk.plans, desk.drained = [REVIEW], [END]
    async with workers(temporal, desk):
        handle = await started(temporal)
        await handle.signal("ring")
        await handle.result()
    assert desk.log[0] == "load_case"
    assert "drain_inbox" in desk.log


async def test_rings_without_news_do_no_harm(temporal: Client, desk: Desk) -> None:
    desk.plans, desk.drained = [REVIEW], [REVIEW, REVIEW, END]
    async with workers(temporal, desk):
        handle = await started(temporal, rung=True)
        for looks in (1, 2):
            await looked(handle, desk, looks)
            await handle.signal("ring")
        await handle.result()
    assert desk.log == ["load_case", "drain_inbox", "drain_inbox", "drain_inbox"]


async def test_a_ring_for_a_closed_case_starts_a_run_that_looks_and_ends(temporal: Client, desk: Desk) -> None:
    desk.plans = [END]
    async with workers(temporal, desk):
        await (await started(temporal, rung=True)).result()
    assert desk.log == ["load_case", "drain_inbox"]


async def test_a_date_wakes_it(temporal: Client, desk: Desk) -> None:
    desk.plans = [plan("await", StepKind.WAIT, wake_at=datetime.now(UTC) + timedelta(seconds=1)), END]
    async with workers(temporal, desk):
        await (await started(temporal)).result()
    assert desk.log == ["load_case", "wake"]


async def test_a_step_that_cannot_be_done_blocks_the_case_and_goes_on_after_a_ring(
    temporal: Client, desk: Desk
) -> None:
    desk.plans, desk.broken = [RECEIPT, END], NeedsPerson("letter.impossible", "No such letter.", "Write one.")
    async with workers(temporal, desk):
        handle = await started(temporal)
        await asyncio.wait_for(desk.asked.wait(), 30)
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        desk.broken = None
        await handle.signal("ring")
        await handle.result()
    assert desk.log.count("perform receipt") == 2
    assert "block letter.impossible" in desk.log


async def test_a_bug_in_an_activity_blocks_the_case_without_repeating_what_it_saw(temporal: Client, desk: Desk) -> None:
    desk.plans, desk.broken = [RECEIPT, END], ValueError("Zoubida Planterose")
    async with workers(temporal, desk):
        handle = await started(temporal)
        await asyncio.wait_for(desk.asked.wait(), 30)
        desk.broken = None
        await handle.signal("ring")
        await handle.result()
    assert "block ValueError" in desk.log
    history = b"".join([event.SerializeToString() async for event in handle.fetch_history_events()])
    assert b"Planterose" not in history


async def test_a_withdrawal_during_an_agent_run_ends_the_run(temporal: Client, desk: Desk) -> None:
    desk.plans, desk.answers = [EXAMINE, END], [Turn(kind=TurnKind.ANSWER, final=False)]
    desk.go_on.clear()
    async with workers(temporal, desk):
        handle = await started(temporal)
        await asyncio.wait_for(desk.asked.wait(), 30)
        desk.drained = [WITHDRAWAL]
        await handle.signal("ring")
        await handle.result()
        desk.go_on.set()
    assert "perform withdrawal" in desk.log
    assert desk.ended == []


async def test_news_that_changes_nothing_leaves_the_agent_at_work(temporal: Client, desk: Desk) -> None:
    desk.plans = [EXAMINE, END]
    desk.answers = [Turn(kind=TurnKind.ANSWER, final=False), Turn(kind=TurnKind.ANSWER, final=True)]
    desk.go_on.clear()
    async with workers(temporal, desk):
        handle = await started(temporal)
        await asyncio.wait_for(desk.asked.wait(), 30)
        await handle.signal("ring")
        await looked(handle, desk, 1)
        desk.go_on.set()
        await handle.result()
    assert [end.reason for end in desk.ended] == [""]
