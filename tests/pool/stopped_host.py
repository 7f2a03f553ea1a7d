"""A pool worker in a process of its own whose calls never end, for a test that stops it.

python -m tests.pool.stopped_host ADDRESS NAMESPACE MODEL        prints `taken` when it has a call
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

from temporalio import activity

from activities.heartbeat import heartbeats
from diwan.pool.gate import Gate
from diwan.temporal import connect
from diwan.worker import pool_worker


class NeverDone:
    @activity.defn(name="call_model")
    async def call_model(self) -> None:
        print("taken", flush=True)
        async with heartbeats():
            await asyncio.Event().wait()


async def main(address: str, namespace: str, model: str) -> None:
    client = await connect(address, namespace)
    # Room for two: beside the call that it holds, a poll waits that may swallow another.
    async with pool_worker(client, model, cast("Any", NeverDone()), host="stopped", gate=Gate(2)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
