"""One run by itself on one host: what the durable way adds to each call of an engine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import aiohttp

from bench.bare import CLOSING_CALLS
from bench.cases import Size, page_text
from bench.engine import PAGES
from bench.pool.fleet import MODEL, Fleet, Ground, Placement
from bench.pool.pace import Pace
from bench.pool.saturation import opened
from bench.rounds import ring
from bench.say import say
from bench.service import NAMESPACE
from diwan.temporal import connect

_LOOK_EVERY_S = 0.01
_WARM_UP = 2  # runs before those that count
_DIRECT = 20  # calls over HTTP and nothing else


@dataclass(frozen=True)
class Alone:
    """`added_ms`: what a call takes beyond its engine's own time, with the tool call that follows it and the run's
    opening and end; `direct_ms`: what one over HTTP alone takes beyond it. Medians."""

    runs: int
    calls: int
    added_ms: float
    direct_ms: float


async def alone(ground: Ground, pace: Pace, size: Size, *, runs: int, steps: int, answer: int) -> Alone:
    async with (
        ground.fleet(1, Placement.OURS, pace, steps=steps, answer=answer) as fleet,
        aiohttp.ClientSession() as http,
    ):
        ids = await opened(ground.opener, runs + _WARM_UP, size)
        client = await connect(ground.temporal, NAMESPACE)
        added: list[float] = []
        for case in ids:
            before, began = await fleet.busy(http), time.monotonic()
            await ring(client, case)
            await ground.watching.all_ended([case], look_every_s=_LOOK_EVERY_S)
            seconds, after = time.monotonic() - began, await fleet.busy(http)
            added.append((seconds - (after.busy_s - before.busy_s)) * 1000 / (after.served - before.served))
        direct = [await _direct(fleet, http, answer) for _ in range(_DIRECT)]
    found = Alone(runs, steps + CLOSING_CALLS, median(added[_WARM_UP:]), median(direct[_WARM_UP:]))
    say(f"{found}")
    return found


async def _direct(fleet: Fleet, http: aiohttp.ClientSession, answer: int) -> float:
    """Milliseconds beyond the engine's own time of a call with a page in it, as a client without Diwan makes it."""
    said = page_text("piece", 1) * PAGES
    asked = {"model": MODEL, "messages": [{"role": "user", "content": said}], "max_tokens": answer}
    before, began = await fleet.busy(http), time.monotonic()
    async with http.post(f"http://127.0.0.1:{fleet.engine_ports[0]}/v1/chat/completions", json=asked) as answered:
        await answered.read()
    seconds, after = time.monotonic() - began, await fleet.busy(http)
    return (seconds - (after.busy_s - before.busy_s)) * 1000
