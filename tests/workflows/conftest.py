"""A real Temporal server and the real workers; in the activities' place a desk that answers as a test wants."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, cast

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from agents.loop import Turn
from diwan.domain.case import Plan, StepKind
from diwan.temporal import CASE_QUEUE, model_queue
from diwan.worker import activities_of, case_worker
from tests.support.temporal import server, temporal
from workflows.calls import BlockInput, CaseRef, ModelCall, RunEnd, RunStart, StepRef, ToolCall

__all__ = ["server", "temporal"]

MODEL = "scripted"


class Desk:
    """Stands in for all activities. `plans` are what comes next, in order; the last stays. `log` is what was asked."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.drained: list[Plan] = []
        self.answers: list[Turn | Callable[[], Turn]] = []
        self.log: list[str] = []
        self.ended: list[RunEnd] = []
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.broken: Exception | None = None
        self.patience_s = 60
        self.host_wait_s = 2

    def _next(self) -> Plan:
        return self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]

    @activity.defn(name="load_case")
    async def load_case(self, ref: CaseRef) -> Plan:
        self.log.append("load_case")
        return self.plans[0]

    @activity.defn(name="drain_inbox")
    async def drain_inbox(self, ref: CaseRef) -> Plan:
        self.log.append("drain_inbox")
        if self.drained:
            self.plans = [self.drained.pop(0), *self.plans[1:]]
        return self.plans[0]

    @activity.defn(name="wake")
    async def wake(self, ref: CaseRef) -> Plan:
        self.log.append("wake")
        self.plans.pop(0)
        return self.plans[0]

    @activity.defn(name="perform_step")
    async def perform_step(self, step: StepRef) -> Plan:
        self.log.append(f"perform {step.step}")
        if self.broken is not None:
            raise self.broken
        self.plans.pop(0)
        return self.plans[0]

    @activity.defn(name="block_case")
    async def block_case(self, given: BlockInput) -> Plan:
        self.log.append(f"block {given.code}")
        self.asked.set()
        return self.plans[0]

    @activity.defn(name="begin_run")
    async def begin_run(self, step: StepRef) -> RunStart:
        self.log.append("begin_run")
        return RunStart(
            run=f"{step.case}/{step.step}/{step.visit}",
            spec="dossier-examiner",
            queue=model_queue(MODEL),
            patience_s=self.patience_s,
            host_wait_s=self.host_wait_s,
            call_limit_s=30,
            turns=[],
        )

    @activity.defn(name="call_tool")
    async def call_tool(self, given: ToolCall) -> bool:
        self.log.append(f"tool {given.tool}")
        return True

    @activity.defn(name="end_run")
    async def end_run(self, given: RunEnd) -> Plan:
        self.log.append(f"end_run {given.reason}".strip())
        self.ended.append(given)
        self.plans.pop(0)
        return self.plans[0]


class Engine:
    """Stands in for a pool worker's activities."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @activity.defn(name="call_model")
    async def call_model(self, given: ModelCall) -> Turn:
        desk = self._desk
        desk.log.append(f"model {given.call}{' final' if given.final else ''}")
        desk.asked.set()
        while not desk.go_on.is_set():
            activity.heartbeat()
            await asyncio.wait({asyncio.create_task(desk.go_on.wait())}, timeout=0.2)
        answer = desk.answers.pop(0) if len(desk.answers) > 1 else desk.answers[0]
        return answer() if callable(answer) else answer


def plan(step: str, kind: StepKind, *, visit: int = 1, wake_at: datetime | None = None) -> Plan:
    return Plan(version=1, cursor=0, step=step, visit=visit, kind=kind, wake_at=wake_at)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@asynccontextmanager
async def workers(client: Client, desk: Desk, *, with_pool: bool = True, build: str = "") -> AsyncGenerator[None]:
    """The case worker as in production, of a version where one is given, and a pool worker unless there is none."""
    whole = cast("Any", desk)
    pool = Worker(client, task_queue=model_queue(MODEL), activities=activities_of(Engine(desk)))
    async with case_worker(client, whole, cast("Any", object()), build=build):
        if not with_pool:
            yield
            return
        async with pool:
            yield


async def started(client: Client, *, rung: bool = False) -> WorkflowHandle[Any, Any]:
    case = uuid.uuid4().hex
    return await client.start_workflow(
        "Case",
        CaseRef(tenant="demo", case=case),
        id=f"demo/{case}",
        task_queue=CASE_QUEUE,
        start_signal="ring" if rung else None,
    )
