"""Whether Temporal keeps the order that urgency and ministries' weights ask for: tried, because it says nothing.

A server that was not told to (docs/operations.md) takes priority and fairness key, and ignores them: an urgent case
then waits behind everybody, a small ministry behind a big one's flood, and nobody sees why. So a few workflows that
nobody carries out are started on a queue of their own, and their tasks taken in the order in which the server gives
them out.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DescribeTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from diwan.domain.errors import Final, Unavailable
from diwan.temporal import turn_of

# Far more of one ministry, then a few of another, then an urgent one: so many that what comes first by chance, from a
# queue that is spread over partitions, is not taken for order. Over several partitions a server is fair by chance only.
_FLOOD, _FEW = 24, 4
# They go by themselves, should whoever tries die meanwhile.
_LIFE = timedelta(minutes=1)
_PATIENCE = timedelta(seconds=10)
_ARRIVAL_S, _LOOK_S = 20.0, 0.5

_FLAGS = (
    "matching.useNewMatcher=true, matching.enableFairness=true, matching.numTaskqueueReadPartitions=1 and "
    "matching.numTaskqueueWritePartitions=1"
)


@dataclass(frozen=True)
class Verdict:
    """`urgent`: what is urgent is given out before what came earlier. `fair`: no ministry waits for another's flood."""

    urgent: bool
    fair: bool

    @property
    def well(self) -> bool:
        return self.urgent and self.fair

    @property
    def told(self) -> str:
        """What is wrong, in a line; empty where all is well."""
        wrong = [name for name, kept in (("priority", self.urgent), ("fairness", self.fair)) if not kept]
        return f"Temporal ignores {' and '.join(wrong)}." if wrong else ""

    @property
    def remedy(self) -> str:
        return "" if self.well else f"Set {_FLAGS} in the server's dynamic configuration (docs/operations.md)."

    def demand(self) -> None:
        """Raises `Final` unless all is well."""
        if not self.well:
            raise Final("temporal.unfair", self.told, f"{self.remedy} To serve all the same: DIWAN_POOL_UNFAIR=true.")


async def examine(client: Client) -> Verdict:
    """Takes one second to six. Raises `Unavailable` when Temporal does not answer, or not in time."""
    name = f"diwan-self-test-{secrets.token_hex(8)}"
    flood = [f"{name}/flood/{number}" for number in range(_FLOOD)]
    few = [f"{name}/few/{number}" for number in range(_FEW)]
    urgent = f"{name}/urgent"
    started: list[str] = []
    try:
        # In this order, one lot after the other; within a lot it does not matter.
        for lot, tenant, priority in ((flood, "flood", 3), (few, "few", 3), ([urgent], "flood", 1)):
            started += lot
            await asyncio.gather(*(_start(client, name, each, tenant, priority) for each in lot))
        await all_wait(client, name, len(started))
        given = [await _next(client, name) for _ in started]
    except RPCError as error:
        raise _not_tried() from error
    finally:
        await asyncio.gather(*(_delete(client, each) for each in started), return_exceptions=True)
    if "" in given:  # it had nothing to give out for a minute
        raise _not_tried()
    return judge(given, urgent=urgent, few=few)


def _not_tried() -> Unavailable:
    return Unavailable("temporal.not_tried", "Whether Temporal keeps order could not be tried.", "Try again.")


def judge(given: Sequence[str], *, urgent: str, few: Sequence[str]) -> Verdict:
    """By the order in which they were given out: the urgent one came last, the few after the flood."""
    half = len(given) // 2
    return Verdict(urgent=urgent in given[:half], fair=set(few) <= set(given[:half]))


async def _start(client: Client, queue: str, workflow_id: str, tenant: str, priority: int) -> None:
    await client.start_workflow(
        *("DiwanSelfTest",),
        id=workflow_id,
        task_queue=queue,
        execution_timeout=_LIFE,
        priority=turn_of(tenant, priority, 1.0),
    )


async def all_wait(
    client: Client, queue: str, tasks: int, kind: TaskQueueType.ValueType = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
) -> None:
    """Returns when so many tasks wait in a queue, or at the end of patience.

    What was started has its task queued a moment later, on a busy server many moments: who looks at the order before
    all are there sees the order in which they came.
    """
    asked = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind, report_stats=True
    )
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ARRIVAL_S):
            while True:
                # The server counts anew every five seconds only: the first look is not to come too soon.
                await asyncio.sleep(_LOOK_S)
                told = await client.workflow_service.describe_task_queue(asked)
                if told.stats.approximate_backlog_count >= tasks:
                    return


async def _next(client: Client, queue: str) -> str:
    asked = PollWorkflowTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), identity=client.identity
    )
    taken = await client.workflow_service.poll_workflow_task_queue(asked, timeout=_PATIENCE)
    return taken.workflow_execution.workflow_id


async def _delete(client: Client, workflow_id: str) -> None:
    """Ends it as well."""
    await client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
        )
    )
