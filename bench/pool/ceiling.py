"""How many calls a second this machine carries at all: Temporal with activities that do nothing, and the durable way.

Engines keep no pace here: they answer at once. What the pool is measured at elsewhere stays well below.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
from temporalio.client import Client

from bench import bare
from bench.bare import CLOSING_CALLS
from bench.cases import Size
from bench.pool.fleet import PATIENCE_S, Ground, Placement
from bench.pool.pace import Pace
from bench.pool.saturation import opened
from bench.rounds import ring, started
from bench.say import say
from bench.service import NAMESPACE, bare_workers
from diwan.temporal import connect

AT_ONCE = Pace(token_s=0.0, prefill_a_second=1e12, slots=16)


@dataclass(frozen=True)
class Ceiling:
    """Calls a second, of `runs` at once: with nothing in them, and of Diwan's runs from their ring to their end."""

    runs: int
    calls: int
    bare: float
    durable: float


async def ceiling(ground: Ground, size: Size, *, runs: int, steps: int) -> Ceiling:
    calls = steps + CLOSING_CALLS
    found = Ceiling(runs, calls, await _bare(ground, runs, steps), await _durable(ground, size, runs, steps))
    say(f"{found}")
    return found


async def _bare(ground: Ground, runs: int, steps: int) -> float:
    async with AsyncExitStack() as stack:
        for process in bare_workers(ground.folder, ground.temporal):
            await started(stack, process)
        client = await Client.connect(ground.temporal, namespace=bare.NAMESPACE)
        # The first one is not timed: workers begin to poll, parts of the server learn of the namespace.
        await _bare_run(client, "bare-first", 1)
        began = time.monotonic()
        await asyncio.gather(*(_bare_run(client, f"bare-{number}", steps) for number in range(runs)))
        return runs * (steps + CLOSING_CALLS) / (time.monotonic() - began)


async def _bare_run(client: Client, id_: str, steps: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await client.execute_workflow(bare.BareRun.run, steps, id=id_, task_queue=bare.CASE_QUEUE)


async def _durable(ground: Ground, size: Size, runs: int, steps: int) -> float:
    async with (
        ground.fleet(1, Placement.OURS, AT_ONCE, steps=steps, answer=1) as fleet,
        aiohttp.ClientSession() as http,
    ):
        ids = await opened(ground.opener, runs, size)
        client = await connect(ground.temporal, NAMESPACE)
        before, began = await fleet.busy(http), time.monotonic()
        await asyncio.gather(*(ring(client, case) for case in ids))
        await ground.watching.all_ended(ids)
        seconds, after = time.monotonic() - began, await fleet.busy(http)
        return (after.served - before.served) / seconds
