"""Reads, when somebody asks for /metrics, what is not counted as it happens: what waits in Postgres and in Temporal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from diwan import metrics
from diwan.domain.errors import Unavailable

if TYPE_CHECKING:
    from temporalio.client import Client

    from diwan.store.database import Database

log = structlog.get_logger()

Read = Callable[[], Awaitable[None]]

_PATIENCE_S = 4.0
_KEPT_S = 5.0
_STUCK_KEPT_S = 60.0


def figures(parts: dict[str, Read]) -> Read:
    """All parts at once, at most every five seconds; one that cannot be read now says so and keeps no other."""
    turn, last = asyncio.Lock(), [float("-inf")]

    async def read(name: str, part: Read) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await part()
            metrics.UNREADABLE.set(0, name)
        except Exception as error:  # whatever is wrong with it: the others are still worth reading
            metrics.UNREADABLE.set(1, name)
            log.warning("metrics.unreadable", part=name, error=type(error).__name__)

    async def read_all() -> None:
        async with turn:
            if time.monotonic() - last[0] < _KEPT_S:
                return
            await asyncio.gather(*(read(name, part) for name, part in parts.items()))
            last[0] = time.monotonic()

    return read_all


def waiting_in_database(db: Database, clock: Callable[[], datetime]) -> Read:
    """What waits in every ministry; `db` connects as diwan_relay."""

    async def read() -> None:
        from diwan.store.figures import count_all

        async with db.transaction(None, snapshot=True) as conn:
            found = await count_all(conn, clock())
        for waiting, count, oldest in (
            (found.events, metrics.EVENTS_UNCONSUMED, metrics.EVENTS_OLDEST),
            (found.tasks, metrics.TASKS_OPEN, metrics.TASKS_OLDEST),
            (found.outbox, metrics.OUTBOX_WAITING, metrics.OUTBOX_OLDEST),
        ):
            count.replace(waiting.count)
            oldest.replace(waiting.oldest_s)
        metrics.CASES_OPEN.replace(found.open)
        metrics.CASES_BLOCKED.replace(found.blocked)
        metrics.CLOCK_FROZEN.replace(found.frozen)
        metrics.HISTORIES_OLDEST.replace(found.histories)

    return read


def stuck_in_database(db: Database, clock: Callable[[], datetime]) -> Read:
    """Cases that nobody moves; looked for once a minute, for it looks at every open case."""
    last = [float("-inf")]

    async def read() -> None:
        from diwan.store.figures import count_stuck

        if time.monotonic() - last[0] < _STUCK_KEPT_S:
            return
        async with db.transaction(None, snapshot=True) as conn:
            found = await count_stuck(conn, clock())
        metrics.CASES_STUCK.replace(found)
        last[0] = time.monotonic()

    return read


def waiting_in_temporal(client: Callable[[], Client | None], queues: Sequence[str]) -> Read:
    """How many activities wait in each task queue, since when, and who pulls from it."""

    async def one(found: Client, queue: str) -> None:
        from temporalio.api.enums.v1 import TaskQueueType
        from temporalio.api.taskqueue.v1 import TaskQueue
        from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

        asked = DescribeTaskQueueRequest(
            namespace=found.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
            report_stats=True,
        )
        answer = await found.workflow_service.describe_task_queue(asked)
        metrics.QUEUE_WAITING.set(answer.stats.approximate_backlog_count, queue)
        metrics.QUEUE_OLDEST.set(answer.stats.approximate_backlog_age.ToTimedelta().total_seconds(), queue)
        metrics.QUEUE_POLLERS.set(len(answer.pollers), queue)

    async def read() -> None:
        found = client()
        if found is None:
            raise Unavailable("temporal.unavailable", "Temporal does not answer yet.", "Wait for it.")
        await asyncio.gather(*(one(found, queue) for queue in queues))

    return read
