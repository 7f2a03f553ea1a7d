"""Whose turn it is where many wait: the more urgent case first, and no ministry behind another's flood.

Order is looked at, never time. The server keeps it nearly, not exactly, and a worker has taken one ahead.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, cast

from temporalio import activity
from temporalio.api.enums.v1 import EventType, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.worker import Worker

from agents.loop import Turn
from diwan.domain.case import Plan, StepKind
from diwan.domain.errors import NeedsPerson
from diwan.embedded.temporal import EmbeddedTemporal
from diwan.fairness import all_wait
from diwan.recovery import ring
from diwan.temporal import CASE_QUEUE, model_queue, turn_of
from diwan.worker import activities_of, case_worker
from tests.workflows.conftest import MODEL, Desk, plan
from workflows.calls import CaseRef, ModelCall, RunEnd, RunStart, StepRef

END = plan("closed", StepKind.END)
FLOOD = [f"flood/{number:02}" for number in range(40)]
FEW = [f"few/{number:02}" for number in range(5)]
URGENT = "flood/urgent"


def how_urgent(case: str) -> int:
    return 1 if case == "urgent" else 3


class Bureau(Desk):
    """Cases of several ministries, each with one model call that sends it to a person; `called` is their order."""

    def __init__(self) -> None:
        super().__init__()
        self.patience_s = 600
        self.called: list[str] = []

    @activity.defn(name="load_case")
    async def load_case(self, ref: CaseRef) -> Plan:
        return plan("examine", StepKind.AGENT).model_copy(update={"priority": how_urgent(ref.case)})

    @activity.defn(name="drain_inbox")
    async def drain_inbox(self, ref: CaseRef) -> Plan:
        return await self.load_case(ref)

    @activity.defn(name="begin_run")
    async def begin_run(self, step: StepRef) -> RunStart:
        return (await super().begin_run(step)).model_copy(update={"priority": how_urgent(step.case), "weight": 2.0})

    @activity.defn(name="end_run")
    async def end_run(self, given: RunEnd) -> Plan:
        return END

    @activity.defn(name="call_model")
    async def call_model(self, given: ModelCall) -> Turn:
        self.called.append(f"{given.tenant}/{given.case}")
        raise NeedsPerson("engine.context_exceeded", "The dossier is longer than the model's context.")


async def begin(client: Client, workflow_id: str) -> None:
    tenant, _, case = workflow_id.partition("/")
    await ring(client, tenant, case, turn_of(tenant, how_urgent(case), 1.0))


async def waits(client: Client, *cases: str) -> None:
    """Begins these cases; returns when the model call of each is in the queue."""
    for workflow_id in cases:
        await begin(client, workflow_id)
    async with asyncio.timeout(60):
        for workflow_id in cases:
            handle = client.get_workflow_handle(f"{workflow_id}/examine/1")
            while not await asked(handle):  # noqa: ASYNC110 - a server's state
                await asyncio.sleep(0.05)


async def asked(handle: WorkflowHandle[Any, Any]) -> bool:
    """Whether the run has its model call scheduled."""
    with suppress(RPCError):  # it has not begun
        described = await handle.describe()
        return any(each.activity_type.name == "call_model" for each in described.raw_description.pending_activities)
    return False


def in_turn(order: list[str]) -> None:
    """The urgent one, which came last, is past the flood; the few of another ministry are served beside it."""
    assert sorted(order) == sorted([*FLOOD, *FEW, URGENT])
    assert order.index(URGENT) <= 3, order
    assert max(order.index(each) for each in FEW) < 25, order


async def test_model_calls_are_pulled_in_turn(server: EmbeddedTemporal, temporal: Client) -> None:
    bureau = Bureau()
    whole = cast("Any", bureau)

    class Pool:
        call_model = bureau.call_model

    queue = model_queue(MODEL)
    async with case_worker(temporal, whole, cast("Any", object())):
        await waits(temporal, *FLOOD)
        await waits(temporal, *FEW)
        await waits(temporal, URGENT)
        activities = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
        await all_wait(temporal, queue, len([*FLOOD, *FEW, URGENT]), activities)
        pool = Worker(
            temporal,
            task_queue=queue,
            activities=activities_of(Pool()),
            max_concurrent_activities=1,
            max_concurrent_activity_task_polls=1,
        )
        async with pool:
            for workflow_id in [*FLOOD, *FEW, URGENT]:
                await temporal.get_workflow_handle(workflow_id).result()
    in_turn(bureau.called)


async def test_cases_are_begun_in_turn(temporal: Client) -> None:
    """With no worker their first tasks wait; they are taken here as a worker would."""
    order: list[str] = []
    try:
        for workflow_id in [*FLOOD, *FEW, URGENT]:
            await begin(temporal, workflow_id)
        await all_wait(temporal, CASE_QUEUE, len([*FLOOD, *FEW, URGENT]))
        asked = PollWorkflowTaskQueueRequest(
            namespace=temporal.namespace, task_queue=TaskQueue(name=CASE_QUEUE), identity="test"
        )
        for _ in [*FLOOD, *FEW, URGENT]:
            taken = await temporal.workflow_service.poll_workflow_task_queue(asked)
            order.append(taken.workflow_execution.workflow_id)
    finally:
        for workflow_id in [*FLOOD, *FEW, URGENT]:
            await temporal.get_workflow_handle(workflow_id).terminate()
    in_turn(order)


async def test_a_case_its_run_and_its_calls_all_say_whose_turn_it_is(temporal: Client) -> None:
    bureau = Bureau()
    whole = cast("Any", bureau)

    class Pool:
        call_model = bureau.call_model

    pool = Worker(temporal, task_queue=model_queue(MODEL), activities=activities_of(Pool()))
    async with case_worker(temporal, whole, cast("Any", object())), pool:
        await begin(temporal, URGENT)
        await temporal.get_workflow_handle(URGENT).result()
    said: dict[str, tuple[int, str, float]] = {}
    for workflow_id in (URGENT, f"{URGENT}/examine/1"):
        for event in (await temporal.get_workflow_handle(workflow_id).fetch_history()).events:
            attributes = {
                EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: event.workflow_execution_started_event_attributes,
                EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: event.activity_task_scheduled_event_attributes,
            }.get(event.event_type)
            if attributes is not None:
                kind = "activity_type" if hasattr(attributes, "activity_type") else "workflow_type"
                turn = attributes.priority
                said[getattr(attributes, kind).name] = (turn.priority_key, turn.fairness_key, turn.fairness_weight)
    assert said["Case"] == (1, "flood", 1.0)
    assert said["AgentRun"][:2] == (1, "flood")
    assert said["call_model"] == (1, "flood", 2.0)
