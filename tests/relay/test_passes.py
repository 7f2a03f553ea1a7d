"""How passes are repeated: after a rest, at once on news, and on whatever failed before."""

from __future__ import annotations

import asyncio

from diwan.relay import run_forever

LONG_S = 3600.0


async def test_news_is_not_waited_with() -> None:
    stop, news = asyncio.Event(), asyncio.Event()
    passes: asyncio.Queue[None] = asyncio.Queue()

    async def once() -> int:
        passes.put_nowait(None)
        return 0

    async with asyncio.timeout(30):
        running = asyncio.create_task(run_forever("signs", once, stop, idle_s=LONG_S, news=news))
        for _ in range(3):
            await passes.get()
            news.set()
        await passes.get()
        for _ in range(100):  # turns of the loop
            await asyncio.sleep(0)
        assert passes.empty(), "a pass without work or news"
        stop.set()
        await running


async def test_news_that_comes_during_a_pass_makes_another() -> None:
    stop, news = asyncio.Event(), asyncio.Event()
    passes = 0

    async def once() -> int:
        nonlocal passes
        passes += 1
        (news if passes == 1 else stop).set()
        return 0

    async with asyncio.timeout(30):
        await run_forever("signs", once, stop, idle_s=LONG_S, news=news)
    assert passes == 2


async def test_without_news_it_is_called_after_its_rest_and_whatever_it_raised() -> None:
    stop = asyncio.Event()
    passes = 0

    async def once() -> int:
        nonlocal passes
        passes += 1
        if passes == 3:
            stop.set()
        raise OSError("away")

    async with asyncio.timeout(30):
        await run_forever("signs", once, stop, idle_s=0.01)
    assert passes == 3
