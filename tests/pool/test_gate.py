"""The gate on a real Temporal: calls of both queues flow whatever the room, and what counts permits stands still."""

from __future__ import annotations

import asyncio
import signal
import sys
import uuid
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, TimeoutType
from temporalio.exceptions import TimeoutError as TemporalTimeout
from temporalio.worker import CustomSlotSupplier, SlotPermit, UnsandboxedWorkflowRunner, Worker

from diwan.embedded.temporal import EmbeddedTemporal
from diwan.fairness import all_wait
from diwan.pool.gate import Gate
from diwan.temporal import host_queue, model_queue
from diwan.worker import pool_worker
from workflows.calls import BEATS

PATIENCE_S = 60
HOST = "here"


@workflow.defn(name="GateCalls")
class Calls:
    """So many calls of each queue, all at once; each waits at most so long for its start."""

    @workflow.run
    async def run(self, wanted: dict[str, int], wait_s: int) -> None:
        calls = [
            workflow.execute_activity(
                "call_model",
                task_queue=queue,
                schedule_to_start_timeout=timedelta(seconds=wait_s),
                start_to_close_timeout=timedelta(seconds=PATIENCE_S),
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
            for queue, number in wanted.items()
            for _ in range(number)
        ]
        await asyncio.gather(*calls)


class Engine:
    """In the place of a pool worker's activities: counts what runs, and holds it while `go_on` is not set."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.running = 0
        self.most = 0
        self.done: Counter[str] = Counter()
        self.order: list[str] = []
        self.changed = asyncio.Condition()

    @activity.defn(name="call_model")
    async def call_model(self) -> None:
        async with self.changed:
            self.running += 1
            self.most = max(self.most, self.running)
            self.order.append(activity.info().task_queue)
            self.changed.notify_all()
        await self.go_on.wait()
        async with self.changed:
            self.running -= 1
            self.done[activity.info().task_queue] += 1
            self.changed.notify_all()

    async def has_running(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: self.running == number)


class Permits(CustomSlotSupplier):
    """What one would write first: a permit is room, from the moment it is given until it comes back."""

    def __init__(self, room: int) -> None:
        self._free = asyncio.Semaphore(room)
        self._loop = asyncio.get_running_loop()
        self.held: asyncio.Queue[str] = asyncio.Queue()

    async def reserve_slot(self, ctx: Any) -> SlotPermit:
        await self._free.acquire()
        self.held.put_nowait(ctx.task_queue)
        return SlotPermit()

    def try_reserve_slot(self, ctx: Any) -> None:
        return None

    def mark_slot_used(self, ctx: Any) -> None:
        pass

    def release_slot(self, ctx: Any) -> None:
        self._loop.call_soon_threadsafe(self._free.release)

    def prefer(self, queue: str) -> None:
        pass

    def close(self) -> None:
        """A host closes its gate when it ends."""


class Host:
    """A host with both its queues, of a model that no other test has."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.engine = Engine()
        self.model = uuid.uuid4().hex
        self.shared = model_queue(self.model)
        self.own = host_queue(self.shared, HOST)

    @asynccontextmanager
    async def polling(self, gate: Any) -> AsyncGenerator[None]:
        flows = Worker(
            self.client,
            task_queue=f"flows-{self.model}",
            workflows=[Calls, OneCall],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with flows, pool_worker(self.client, self.model, cast("Any", self.engine), host=HOST, gate=gate):
            yield

    async def ask(self, wanted: dict[str, int], *, wait_s: int = PATIENCE_S) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            "GateCalls", args=[wanted, wait_s], id=uuid.uuid4().hex, task_queue=f"flows-{self.model}"
        )


@workflow.defn(name="GateOneCall")
class OneCall:
    """A call as an agent's run makes it: dead without a sign of life, and tried again elsewhere."""

    @workflow.run
    async def run(self, queue: str) -> None:
        await workflow.execute_activity(
            "call_model",
            task_queue=queue,
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=BEATS,
            retry_policy=RetryPolicy(maximum_attempts=3, initial_interval=timedelta(seconds=1)),
        )


@pytest.fixture
def host(temporal: Client) -> Host:
    return Host(temporal)


async def ended(handle: WorkflowHandle[Any, Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await handle.result()


async def untaken(handle: WorkflowHandle[Any, Any]) -> bool:
    """Whether a call waited for its start in vain."""
    with pytest.raises(WorkflowFailureError) as raised:
        await ended(handle)
    assert isinstance(raised.value.cause, ActivityError)
    cause = raised.value.cause.cause
    return isinstance(cause, TemporalTimeout) and cause.type is TimeoutType.SCHEDULE_TO_START


async def test_with_room_for_one_the_calls_of_both_queues_flow_on(host: Host) -> None:
    host.engine.go_on.set()
    async with host.polling(Gate(1)):
        await ended(await host.ask({host.shared: 3}))
        await ended(await host.ask({host.own: 3}))
        await ended(await host.ask({host.shared: 4, host.own: 4}))
        await ended(await host.ask({host.own: 1}))
    assert host.engine.done == {host.shared: 7, host.own: 8}
    assert host.engine.most <= 2  # one over: the poll of each queue brought one


async def test_what_counts_permits_as_room_stands_still(host: Host) -> None:
    host.engine.go_on.set()
    permits = Permits(1)
    async with host.polling(permits):
        async with asyncio.timeout(PATIENCE_S):
            polled = await permits.held.get()
        other = host.own if polled == host.shared else host.shared
        assert await untaken(await host.ask({other: 1}, wait_s=2))
    assert not host.engine.done


async def test_a_closed_gate_takes_nothing_and_an_open_one_takes_what_waited(host: Host) -> None:
    host.engine.go_on.set()
    gate = Gate(4)
    gate.close()
    async with host.polling(gate):
        assert await untaken(await host.ask({host.shared: 1, host.own: 1}, wait_s=2))
        waits = await host.ask({host.shared: 1, host.own: 1})
        gate.open()
        await ended(waits)


async def test_more_room_takes_more_and_less_takes_no_more_until_there_is_some_again(host: Host) -> None:
    gate = Gate(1)
    async with host.polling(gate):
        first = await host.ask({host.shared: 8})
        await host.engine.has_running(1)
        gate.set_room(4)
        await host.engine.has_running(4)
        assert gate.used == 4
        gate.set_room(1)
        host.engine.most = 0
        host.engine.go_on.set()
        await ended(first)
    assert host.engine.done[host.shared] == 8
    assert host.engine.most == 1
    assert gate.used == 0


async def test_a_call_of_a_run_that_was_begun_here_goes_before_the_first_of_another(host: Host) -> None:
    async with host.polling(Gate(1)):
        calls = [await host.ask({host.shared: 1})]
        await host.engine.has_running(1)
        calls.append(await host.ask({host.shared: 3, host.own: 4}))
        await all_wait(host.client, host.shared, 3, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
        host.engine.go_on.set()
        await asyncio.gather(*(ended(each) for each in calls))
    assert host.engine.order == [host.shared, *[host.own] * 4, *[host.shared] * 3]


async def test_a_run_that_is_to_begin_does_not_wait_for_those_that_never_end(host: Host) -> None:
    async with host.polling(Gate(1)):
        calls = [await host.ask({host.own: 1})]
        await host.engine.has_running(1)
        calls.append(await host.ask({host.own: 40, host.shared: 3}))
        # A poll of either queue may have waited, and have brought one.
        for queue, number in ((host.own, 39), (host.shared, 2)):
            await all_wait(host.client, queue, number, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
        host.engine.go_on.set()
        await asyncio.gather(*(ended(each) for each in calls))
    second = [place for place, queue in enumerate(host.engine.order) if queue == host.shared][1]
    assert 8 <= second < 30


async def test_the_call_of_a_host_that_is_stopped_goes_to_another_after_its_last_sign_of_life(
    server: EmbeddedTemporal, host: Host
) -> None:
    """The stopped process keeps its connections: a poll of it that waits may take the call once more, no oftener."""
    stopped = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.pool.stopped_host", server.address, server.namespace, host.model),
        stdout=asyncio.subprocess.PIPE,
    )
    host.engine.go_on.set()
    flows = Worker(
        host.client, task_queue="flows-stopped", workflows=[OneCall], workflow_runner=UnsandboxedWorkflowRunner()
    )
    try:
        async with flows:
            call = await host.client.start_workflow(
                "GateOneCall", host.shared, id=uuid.uuid4().hex, task_queue="flows-stopped"
            )
            assert stopped.stdout is not None
            async with asyncio.timeout(PATIENCE_S):
                assert await stopped.stdout.readline() == b"taken\n"
            stopped.send_signal(signal.SIGSTOP)
            async with host.polling(Gate(1)):
                await ended(call)
    finally:
        stopped.kill()
        await stopped.wait()
    assert host.engine.done == {host.shared: 1}
