"""What durable steps cost when they do nothing: the same calls in the same order on the same queues, without Diwan.

    python -m bench.bare case|pool ADDRESS ROOM

A model call is an activity on the model's queue, polled by another process; a tool call is a local activity on the
case's. One workflow a run, no parent, nothing before its first step or after its last: Diwan's side pays for those.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

CASE_QUEUE = "diwan-cases"
MODEL = "zero-latency"
MODEL_QUEUE = f"diwan-model-{MODEL}"
NAMESPACE = "bare"
CLOSING_CALLS = 2  # the model says that it has read enough, then answers: no tools


@activity.defn(name="bare_model")
async def model(_call: int) -> str:
    return "tools"


@activity.defn(name="bare_tool")
async def tool(_call: int) -> bool:
    return True


@workflow.defn(name="BareRun")
class BareRun:
    @workflow.run
    async def run(self, steps: int) -> int:
        for call in range(steps + CLOSING_CALLS):
            await workflow.execute_activity(
                model,
                call,
                task_queue=MODEL_QUEUE,
                schedule_to_start_timeout=timedelta(minutes=15),
                start_to_close_timeout=timedelta(minutes=5),
                heartbeat_timeout=timedelta(seconds=10),
            )
            if call < steps:
                await workflow.execute_local_activity(tool, call, start_to_close_timeout=timedelta(seconds=30))
        return steps


async def work(part: str, address: str, room: int) -> None:
    """Workers set up as Diwan's own (diwan/worker.py)."""
    client = await Client.connect(address, namespace=NAMESPACE)
    if part == "case":
        worker = Worker(
            client,
            task_queue=CASE_QUEUE,
            workflows=[BareRun],
            activities=[tool],
            max_cached_workflows=500,
            max_concurrent_workflow_tasks=16,
            max_concurrent_activities=20,
            max_concurrent_local_activities=20,
        )
    else:
        worker = Worker(
            client,
            task_queue=MODEL_QUEUE,
            activities=[model],
            max_concurrent_activities=room,
            disable_eager_activity_execution=True,
        )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with worker:
        await stop.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(work(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    os._exit(0)  # a Temporal client's threads can crash the interpreter on its way out
