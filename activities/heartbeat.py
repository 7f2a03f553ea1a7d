"""Signs of life of an activity that takes long: without them a dead worker is noticed only when its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from temporalio import activity

_BEAT_S = 2.0


@asynccontextmanager
async def heartbeats() -> AsyncGenerator[None]:
    """Beats while the block runs; a cancelled case stops the block at the next beat."""

    loop = asyncio.get_running_loop()

    def beat() -> None:
        nonlocal next_beat
        activity.heartbeat()
        next_beat = loop.call_later(_BEAT_S, beat)

    # Not at once: what ends before the first beat spares Temporal a write.
    next_beat = loop.call_later(_BEAT_S, beat)
    try:
        yield
    finally:
        next_beat.cancel()
