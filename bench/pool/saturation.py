"""More runs than the engines have slots: how much of the engines is used, and how much they compute again."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from datetime import datetime

import aiohttp

from bench.bare import CLOSING_CALLS
from bench.cases import TENANT, Opener, Size
from bench.pool.fleet import PATIENCE_S, Busy, Fleet, Ground, Placement
from bench.pool.pace import Pace
from bench.rounds import ring
from bench.say import say
from bench.service import NAMESPACE
from diwan.temporal import connect

_LOOK_EVERY_S = 0.5
_AT_ONCE = 4  # cases opened side by side
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Saturated:
    """Over the time in which there were more runs than slots, from the first moment that all slots were taken.

    `fresh_a_run` is over the whole of it: prompt tokens that an engine had to compute, of one run.
    """

    placement: Placement
    hosts: int
    slots: int
    calls: int  # of a run
    seconds: float
    occupancy: float
    calls_a_second: float
    fresh_a_run: float
    runs_a_minute: float


async def saturate(
    ground: Ground, hosts: int, placement: Placement, pace: Pace, size: Size, *, waves: int, steps: int, answer: int
) -> Saturated:
    """`waves` times as many runs as there are slots, all at once."""
    async with (
        ground.fleet(hosts, placement, pace, steps=steps, answer=answer) as fleet,
        aiohttp.ClientSession() as http,
    ):
        ids = await opened(ground.opener, fleet.slots * waves, size)
        client = await connect(ground.temporal, NAMESPACE)
        before, began = await fleet.busy(http), time.monotonic()
        await asyncio.gather(*(ring(client, case) for case in ids))
        full, few = await _between(ground, fleet, http, ids)
        await ground.watching.all_ended(ids)
        after, ended = await fleet.busy(http), time.monotonic()
    seconds = few[0] - full[0]
    found = Saturated(
        placement,
        hosts,
        fleet.slots,
        steps + CLOSING_CALLS,
        seconds,
        occupancy=(few[1].busy_s - full[1].busy_s) / (seconds * fleet.slots),
        calls_a_second=(few[1].served - full[1].served) / seconds,
        fresh_a_run=(after.fresh - before.fresh) / len(ids),
        runs_a_minute=len(ids) * 60 / (ended - began),
    )
    say(f"{found}")
    return found


Moment = tuple[float, Busy]


async def _between(ground: Ground, fleet: Fleet, http: aiohttp.ClientSession, ids: list[str]) -> tuple[Moment, Moment]:
    """When all slots were first taken, and when no more runs were left than there are slots."""
    full: Moment | None = None
    async with asyncio.timeout(PATIENCE_S):
        while True:
            now: Moment = (time.monotonic(), await fleet.busy(http))
            if full is None and now[1].running >= fleet.slots:
                full = now
            if len(ids) - ground.watching.ended(ids) <= fleet.slots:
                if full is None:
                    raise RuntimeError("the engines were never full: there were too few runs")
                return full, now
            await asyncio.sleep(_LOOK_EVERY_S)


async def opened(
    opener: Opener, count: int, size: Size, *, tenant: str = TENANT, received: datetime | None = None
) -> list[str]:
    """New cases of a ministry with their dossiers, as if they had come in at `received` (now)."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one() -> str:
        async with turns:
            return await opener.open(f"pool-{next(_numbers)}", size, tenant=tenant, received=received)

    return list(await asyncio.gather(*(one() for _ in range(count))))
