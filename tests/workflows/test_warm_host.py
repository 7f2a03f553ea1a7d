"""Where the calls of a run go: back to the host that holds its prefix, and past it where that one cannot take them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker

from agents.loop import ToolRequest, Turn, TurnKind
from agents.registry import spec_of
from diwan.domain.case import StepKind
from diwan.domain.errors import Unavailable
from diwan.embedded.temporal import EmbeddedTemporal
from diwan.temporal import connect, host_queue, model_queue
from diwan.worker import activities_of
from tests.workflows.conftest import MODEL, Desk, plan, started, workers
from workflows.calls import ModelCall

EXAMINE = plan("examine", StepKind.AGENT)
END = plan("closed", StepKind.END)
SHARED = model_queue(MODEL)
READY = Turn(kind=TurnKind.ANSWER, final=False)
ANSWER = Turn(kind=TurnKind.ANSWER, final=True)
TOOLS = Turn(kind=TurnKind.TOOLS, final=False, requests=(ToolRequest(position=0, tool="documents.list"),))


def on(host: str) -> str:
    return host_queue(SHARED, host)


def of(turn: Turn, host: str) -> Turn:
    return turn.model_copy(update={"host": host})


class Host:
    """A pool host as the workflow sees it: pulls from its own queue and from the shared one, and says its name.

    `fails` is raised in an answer's place; `hung` makes it take a call and give no sign of life.
    """

    def __init__(self, name: str, desk: Desk) -> None:
        self.name = name
        self.took: list[int] = []
        self.fails: Exception | None = None
        self.hung = False
        self._desk = desk

    @activity.defn(name="call_model")
    async def call_model(self, given: ModelCall) -> Turn:
        self.took.append(given.call)
        if self.hung:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        answers = self._desk.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        assert isinstance(answer, Turn)
        return of(answer, self.name)

    @asynccontextmanager
    async def pulling(self, server: EmbeddedTemporal, *queues: str) -> AsyncGenerator[None]:
        """A client of its own: one client cannot have two workers on the shared queue."""
        client = await connect(server.address, server.namespace)
        async with AsyncExitStack() as stack:
            for queue in queues:
                await stack.enter_async_context(Worker(client, task_queue=queue, activities=activities_of(self)))
            yield


async def queues_of(handle: WorkflowHandle[Any, Any], client: Client) -> list[str]:
    """The queues on which the run's model calls were put, in order."""
    history = await client.get_workflow_handle(f"{handle.id}/examine/1").fetch_history()
    scheduled = [each.activity_task_scheduled_event_attributes for each in history.events]
    return [each.task_queue.name for each in scheduled if each.activity_type.name == "call_model"]


async def asked_again(handle: WorkflowHandle[Any, Any], client: Client) -> None:
    """Returns when the run's second model call waits."""
    async with asyncio.timeout(30):
        while True:
            with suppress(RPCError):  # the run has not begun
                if len(await queues_of(handle, client)) > 1:
                    return
            await handle.query("__stack_trace")


async def ran(client: Client, desk: Desk, *, with_pool: bool) -> list[str]:
    desk.plans = [EXAMINE, END]
    async with workers(client, desk, with_pool=with_pool):
        handle = await started(client)
        await handle.result()
    return await queues_of(handle, client)


async def test_later_calls_go_back_to_the_host_that_took_the_first(
    server: EmbeddedTemporal, temporal: Client, desk: Desk
) -> None:
    desk.answers = [TOOLS, TOOLS, READY, ANSWER]
    one, other = Host("one", desk), Host("other", desk)
    async with one.pulling(server, SHARED, on("one")), other.pulling(server, SHARED, on("other")):
        queues = await ran(temporal, desk, with_pool=False)
    warm = one if one.took else other
    assert warm.took == [1, 2, 3, 4]
    assert queues == [SHARED, *[on(warm.name)] * 3]
    assert [end.reason for end in desk.ended] == [""]


async def test_an_answer_without_a_host_leaves_the_next_call_to_all(temporal: Client, desk: Desk) -> None:
    desk.answers = [READY, ANSWER]
    assert await ran(temporal, desk, with_pool=True) == [SHARED, SHARED]


async def test_a_wait_of_nothing_is_no_wait(temporal: Client, desk: Desk) -> None:
    desk.answers = [of(READY, "warm"), ANSWER]
    desk.host_wait_s = 0
    assert await ran(temporal, desk, with_pool=True) == [SHARED, SHARED]


async def test_a_host_that_does_not_take_it_in_time_is_passed_by_and_another_is_warm_from_then(
    server: EmbeddedTemporal, temporal: Client, desk: Desk
) -> None:
    """The host has stopped, or is full: to the call it is the same."""
    desk.answers = [TOOLS, TOOLS, READY, ANSWER]
    full, free = Host("full", desk), Host("free", desk)
    async with AsyncExitStack() as stack:
        desk.plans = [EXAMINE, END]
        await stack.enter_async_context(workers(temporal, desk, with_pool=False))
        async with full.pulling(server, SHARED):
            handle = await started(temporal)
            await asked_again(handle, temporal)
        await stack.enter_async_context(free.pulling(server, SHARED, on("free")))
        await handle.result()
    assert full.took == [1]
    assert free.took == [2, 3, 4]
    assert await queues_of(handle, temporal) == [SHARED, on("full"), SHARED, on("free"), on("free")]


async def test_an_engine_that_fails_its_warm_call_has_one_try_and_another_answers(
    server: EmbeddedTemporal, temporal: Client, desk: Desk
) -> None:
    desk.answers = [of(READY, "ill"), of(ANSWER, "well")]
    ill = Host("ill", desk)
    ill.fails = Unavailable("engine.unreachable", "The engine cannot be reached.")
    async with ill.pulling(server, on("ill")):
        assert await ran(temporal, desk, with_pool=True) == [SHARED, on("ill"), SHARED]
    assert ill.took == [2]
    assert [end.reason for end in desk.ended] == [""]


async def test_a_host_that_dies_with_the_call_is_given_up_after_its_last_sign_of_life(
    server: EmbeddedTemporal, temporal: Client, desk: Desk
) -> None:
    desk.answers = [of(READY, "dead"), of(ANSWER, "alive")]
    dead = Host("dead", desk)
    dead.hung = True
    async with dead.pulling(server, on("dead")):
        assert await ran(temporal, desk, with_pool=True) == [SHARED, on("dead"), SHARED]
    assert [end.reason for end in desk.ended] == [""]


async def test_a_call_passes_by_one_host_and_no_more(temporal: Client, desk: Desk) -> None:
    """Every host that ever answered is gone: each call asks for one of them once, and the shared queue then."""
    desk.answers = [of(TOOLS, "gone-1"), of(TOOLS, "gone-2"), of(READY, "gone-1"), ANSWER]
    assert await ran(temporal, desk, with_pool=True) == [
        *(SHARED, on("gone-1"), SHARED),
        *(on("gone-2"), SHARED),
        *(on("gone-1"), SHARED),
    ]
    assert [end.reason for end in desk.ended] == [""]


async def test_patience_bounds_the_wait_for_the_host_and_for_any_other_together(
    server: EmbeddedTemporal, temporal: Client, desk: Desk
) -> None:
    desk.answers = [READY]
    desk.patience_s = 3
    only = Host("only", desk)
    desk.plans = [EXAMINE, END]
    async with workers(temporal, desk, with_pool=False):
        async with only.pulling(server, SHARED):
            handle = await started(temporal)
            await asked_again(handle, temporal)
        await handle.result()
    history = await temporal.get_workflow_handle(f"{handle.id}/examine/1").fetch_history()
    waits = [
        each.activity_task_scheduled_event_attributes.schedule_to_start_timeout.ToTimedelta().total_seconds()
        for each in history.events
        if each.activity_task_scheduled_event_attributes.activity_type.name == "call_model"
    ]
    assert waits[0] == 3
    assert waits[1] == desk.host_wait_s
    assert len(waits) == 3
    assert waits[2] <= 1.0
    assert [end.reason for end in desk.ended] == ["engine_unavailable"]


async def test_time_that_engines_lost_is_not_the_runs(
    temporal: Client, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifteen seconds of faults and pauses, in a run that has fourteen for itself."""
    spec = spec_of("dossier-examiner")
    hasty = replace(spec, budgets=replace(spec.budgets, seconds=14))
    monkeypatch.setattr("agents.registry._SPECS", {spec.name: hasty})

    def down() -> Turn:
        raise Unavailable("engine.unreachable", "The engine cannot be reached.")

    faults: list[Turn | Callable[[], Turn]] = [down, down, down, down]
    desk.answers = [*faults, READY, ANSWER]
    assert await ran(temporal, desk, with_pool=True) == [SHARED] * 6
    assert [end.reason for end in desk.ended] == [""]


@pytest.mark.parametrize(("waited_s", "reason"), [(3.0, ""), (0.0, "budget")])
async def test_time_in_a_queue_is_not_the_runs(
    temporal: Client, desk: Desk, monkeypatch: pytest.MonkeyPatch, waited_s: float, reason: str
) -> None:
    """A call that takes two seconds, in a run that has one: it says that it waited for them, or it does not."""
    spec = spec_of("dossier-examiner")
    hasty = replace(spec, budgets=replace(spec.budgets, seconds=1))
    monkeypatch.setattr("agents.registry._SPECS", {spec.name: hasty})
    desk.answers = [READY.model_copy(update={"waited_s": waited_s}), ANSWER]
    desk.plans = [EXAMINE, END]
    desk.go_on.clear()
    async with workers(temporal, desk):
        handle = await started(temporal)
        await desk.asked.wait()
        await asyncio.sleep(2)  # what it takes
        desk.go_on.set()
        await handle.result()
    assert [end.reason for end in desk.ended] == [reason]


async def test_a_withdrawal_does_not_wait_for_the_warm_host(temporal: Client, desk: Desk) -> None:
    withdrawal = plan("withdrawal", StepKind.ACT)
    desk.answers = [of(READY, "gone")]
    desk.host_wait_s = 600
    desk.plans, desk.drained = [EXAMINE, END], [withdrawal]
    async with workers(temporal, desk):
        handle = await started(temporal)
        await asked_again(handle, temporal)
        await handle.signal("ring")
        await asyncio.wait_for(handle.result(), 60)
    assert "perform withdrawal" in desk.log
    assert desk.ended == []
