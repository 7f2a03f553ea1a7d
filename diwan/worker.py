"""The case worker (workflows and their activities) and the pool worker (model calls beside an engine).

Clients are built by `cli` and injected; a structure test asserts that every call in `workflows/calls.py` has an
activity and every queue a poller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from temporalio.client import Client
from temporalio.worker import FixedSizeSlotSupplier, Interceptor, Worker, WorkerTuner
from temporalio.worker.workflow_sandbox import SandboxRestrictions

from activities.casework import CaseActivities
from activities.model import ModelActivities
from activities.runs import RunActivities
from diwan.pool.gate import Gate
from diwan.sandbox import LeanSandbox
from diwan.temporal import CASE_QUEUE, host_queue, model_queue
from diwan.versions import deployment
from workflows.agent_run import AgentRunWorkflow
from workflows.case import CaseWorkflow
from workflows.rerun import RerunWorkflow

WORKFLOWS = (CaseWorkflow, AgentRunWorkflow, RerunWorkflow)

# Imported once, outside the sandbox: pure by the import contract, or (cel) unable to load inside it.
# `workflows.calls` is names and types: built anew for every workflow, its models cost more than a step of an agent.
_PASSED_THROUGH = (
    "workflows.calls",
    "agents",
    "diwan",
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "cel_expr_python",
    "holidays",
    "yaml",
)

_DRAIN = timedelta(seconds=20)

# Temporal takes a workflow task back after ten seconds, and what was done of it is done again. After a restart every
# open case has one, and a hundred at once (the library's default) share one thread: on a busy machine all of them
# were late, again and again. Those that wait in the queue are late for nobody.
_WORKFLOW_TASKS = 16


def case_worker(
    client: Client,
    casework: CaseActivities,
    runs: RunActivities,
    *others: object,
    cached_cases: int = 500,
    build: str = "",
    interceptors: Sequence[Interceptor] = (),
) -> Worker:
    """Polls the cases' queue; as that build of deployment `diwan` where one is given (versions.py).

    `others` hold more activities of that queue.
    """
    return Worker(
        client,
        task_queue=CASE_QUEUE,
        workflows=list(WORKFLOWS),
        interceptors=list(interceptors),
        activities=[method for holder in (casework, runs, *others) for method in activities_of(holder)],
        workflow_runner=workflow_runner(),
        max_cached_workflows=cached_cases,
        max_concurrent_workflow_tasks=_WORKFLOW_TASKS,
        max_concurrent_activities=20,
        max_concurrent_local_activities=20,
        graceful_shutdown_timeout=_DRAIN,
        deployment_config=deployment(build) if build else None,
    )


def workflow_runner() -> LeanSandbox:
    """The sandbox in which workflows run, and in which stored histories are replayed (tests/replay)."""
    return LeanSandbox(restrictions=SandboxRestrictions.default.with_passthrough_modules(*_PASSED_THROUGH))


class PoolWorkers:
    """The two workers of one host as one: they share its gate, and drain together."""

    def __init__(self, workers: Sequence[Worker], gate: Gate) -> None:
        self._workers = workers
        self._gate = gate
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as starting:
            for worker in self._workers:
                await starting.enter_async_context(worker)
            self._running = starting.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What is under way finishes, for as long as a drain lasts, or is handed back."""
        self._gate.close()
        await asyncio.gather(*(worker.shutdown() for worker in self._workers))
        await self._running.__aexit__(kind, error, trace)


def pool_worker(
    client: Client,
    model: str,
    calls: ModelActivities,
    *others: object,
    host: str,
    gate: Gate,
    interceptors: Sequence[Interceptor] = (),
) -> PoolWorkers:
    """Polls a model's queue and this host's own, for calls whose prefix its engine holds, while `gate` has room.

    `others` hold more activities of those queues. Without a version: it runs activities only, and GPU hosts are
    upgraded apart from the rest.
    """
    shared = model_queue(model)
    own = host_queue(shared, host)
    gate.prefer(own)
    holders = (calls, *others)
    return PoolWorkers([_pulls(client, queue, holders, gate, interceptors) for queue in (shared, own)], gate)


def _pulls(
    client: Client, queue: str, holders: Sequence[object], gate: Gate, interceptors: Sequence[Interceptor]
) -> Worker:
    fixed = FixedSizeSlotSupplier(1)  # of what this worker never runs
    return Worker(
        client,
        task_queue=queue,
        activities=[method for holder in holders for method in activities_of(holder)],
        interceptors=list(interceptors),
        tuner=WorkerTuner.create_composite(
            workflow_supplier=fixed, activity_supplier=gate, local_activity_supplier=fixed, nexus_supplier=fixed
        ),
        max_concurrent_activity_task_polls=1,
        disable_eager_activity_execution=True,
        graceful_shutdown_timeout=_DRAIN,
    )


def activities_of(holder: object) -> list[Callable[..., Any]]:
    """The methods of an activity class that are declared as activities."""
    methods = (getattr(holder, name) for name in dir(holder) if not name.startswith("_"))
    return [method for method in methods if hasattr(method, "__temporal_activity_definition")]


async def run_until(worker: Worker | PoolWorkers, stop: asyncio.Event) -> None:
    """Runs until `stop`, then drains: what is under way finishes or is handed back to Temporal."""
    async with worker:
        await stop.wait()
