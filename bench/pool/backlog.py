"""What an urgent case and another ministry's wait for while far more wait than the engines can take.

One ministry begins so many cases at once that 1,000 calls and more wait; meanwhile a case comes every so often: first
urgent ones, while all those cases begin and then while they wait, then as many of another ministry as are a hundredth
of the flood. Before it the other ministry's cases come alone, which is what they are compared with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from bench.cases import TENANT, Size, now
from bench.pool.fleet import MODEL, OTHER_TENANT, PATIENCE_S, Ground, Placement
from bench.pool.pace import Pace
from bench.pool.saturation import opened
from bench.pool.waits import Waits, waits_of
from bench.say import say
from bench.service import NAMESPACE
from diwan.recovery import ring
from diwan.temporal import connect, model_queue, turn_of

_LOOK_EVERY_S = 1.0
_RUNG_AT_ONCE = 32
# The shipped procedure gives 60 days, counted from the day after: one that came in 59 days ago is on its last but one.
_ALMOST_OVER = timedelta(days=59)
URGENT, USUAL = 1, 4


@dataclass(frozen=True)
class Crowd:
    """`flood` cases at once, of which `standing` calls are to wait; then cases one by one, one each `every_s`."""

    hosts: int = 4
    answer: int = 250
    flood: int = 1_300
    standing: int = 1_000
    alone: int = 20
    early: int = 25
    urgent: int = 100
    other: int = 13
    every_s: float = 1.2


@dataclass(frozen=True)
class Crowded:
    """`waiting` calls waited when the urgent ones began to come, and when the last case had ended."""

    crowd: Crowd
    alone: list[Waits]
    early: list[Waits]
    urgent: list[Waits]
    other: list[Waits]
    waiting: tuple[int, int]


async def crowded(ground: Ground, pace: Pace, size: Size, crowd: Crowd) -> Crowded:
    """Leaves the flood behind: the ground is good for nothing else afterwards."""
    count = (crowd.alone, crowd.other, crowd.early, crowd.urgent)
    before = datetime.now(UTC) - _ALMOST_OVER
    calm = await opened(ground.opener, crowd.alone + crowd.other, size, tenant=OTHER_TENANT)
    urgent = await opened(ground.opener, crowd.early + crowd.urgent, size, received=before)
    say(f"opening {crowd.flood} cases; then one by one {count}")
    flood = await opened(ground.opener, crowd.flood, size)
    async with ground.fleet(crowd.hosts, Placement.OURS, pace, steps=0, answer=crowd.answer):
        client = await connect(ground.temporal, NAMESPACE)
        line = _Line(ground, client, crowd.every_s)
        alone = await line.one_by_one(OTHER_TENANT, USUAL, calm[: crowd.alone])
        flooding = asyncio.create_task(_begin_all(client, flood))
        early = await line.one_by_one(TENANT, URGENT, urgent[: crowd.early])
        await flooding
        at_first = await _until_waiting(client, crowd.standing)
        say(f"{at_first} calls wait")
        late = await line.one_by_one(TENANT, URGENT, urgent[crowd.early :])
        other = await line.one_by_one(OTHER_TENANT, USUAL, calm[crowd.alone :])
        at_last = await _waiting(client)
        say(f"{at_last} calls wait")
    return Crowded(crowd, alone, early, late, other, (at_first, at_last))


@dataclass(frozen=True)
class _Line:
    ground: Ground
    client: Client
    every_s: float

    async def one_by_one(self, tenant: str, urgency: int, ids: Sequence[str]) -> list[Waits]:
        """Rings a case each `every_s`, whatever became of the one before; what each waited for, once all have ended.

        Raises `RuntimeError` where one was not as urgent as it was to be.
        """
        rung: dict[str, datetime] = {}
        for case in ids:
            rung[case] = now()
            await ring(self.client, tenant, case, turn_of(tenant, urgency, 1.0))
            await asyncio.sleep(self.every_s)
        await self.ground.watching.all_ended(list(ids))
        found = [await waits_of(self.client, tenant, case, at) for case, at in rung.items()]
        if {each.urgency for each in found} != {urgency}:
            raise RuntimeError(f"calls were to have urgency {urgency}: {sorted({each.urgency for each in found})}")
        return found


async def _begin_all(client: Client, flood: Sequence[str]) -> None:
    places = asyncio.Semaphore(_RUNG_AT_ONCE)

    async def one(case: str) -> None:
        async with places:
            await ring(client, TENANT, case, turn_of(TENANT, USUAL, 1.0))

    await asyncio.gather(*(one(case) for case in flood))


async def _until_waiting(client: Client, calls: int) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            waiting = await _waiting(client)
            if waiting >= calls:
                return waiting
            await asyncio.sleep(_LOOK_EVERY_S)


async def _waiting(client: Client) -> int:
    """Calls in the model's queue, as the server counts them (anew every five seconds)."""
    told = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=model_queue(MODEL)),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
            report_stats=True,
        )
    )
    return told.stats.approximate_backlog_count
