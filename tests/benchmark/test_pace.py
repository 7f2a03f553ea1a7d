"""The engines of `bench/pool`: as slow as they say, no more at once than they have slots, and warm where they were."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest

from bench.pool.pace import Full, Pace, PacedEngine
from diwan.embedded.demo_engine.prefix_cache import tokens_of

PACE = Pace(token_s=0.01, prefill_a_second=100.0, slots=2, queue=1)
PROMPT = "the whole of a dossier " * 40


class Clock:
    """Time that passes only when everybody sleeps: the first to wake is the next to run."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), woken))
        await woken

    async def run(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.ensure_future(work)
        while not task.done():
            for _ in range(20):  # whoever can go on without time passing does
                await turn()
            if self._sleepers:
                self.now, _, woken = heapq.heappop(self._sleepers)
                woken.set_result(None)
        await task


async def turn() -> None:
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_soon(passed.set_result, None)
    await passed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("bench.pool.pace.asyncio.sleep", made.sleep)
    monkeypatch.setattr("bench.pool.pace.time.monotonic", lambda: made.now)
    return made


async def test_a_prompt_costs_what_is_new_in_it_and_an_answer_each_token(clock: Clock) -> None:
    engine = PacedEngine(PACE)
    await clock.run(engine.call(PROMPT, "salt", 50))
    cold = clock.now
    assert cold == pytest.approx(tokens_of(PROMPT) / 100 + 0.5)
    await clock.run(engine.call(PROMPT, "salt", 50))
    assert clock.now - cold == pytest.approx((tokens_of(PROMPT) - engine.cache.hits) / 100 + 0.5)
    assert engine.cache.hits > tokens_of(PROMPT) * 0.9
    assert engine.busy_s == pytest.approx(clock.now)
    await clock.run(engine.call(PROMPT, "another's", 50))
    assert clock.now > 2 * cold


async def test_prefill_takes_turns_and_decoding_does_not(clock: Clock) -> None:
    engine = PacedEngine(PACE)
    both = asyncio.gather(engine.call(PROMPT, "a", 400), engine.call(PROMPT, "b", 400))

    async def all_of() -> None:
        await both

    await clock.run(all_of())
    assert clock.now == pytest.approx(2 * tokens_of(PROMPT) / 100 + 4)


async def test_no_more_run_than_there_are_slots_and_no_more_wait_than_may(clock: Clock) -> None:
    engine = PacedEngine(PACE)

    async def call(number: int) -> str:
        try:
            await engine.call(str(number), "", 100)
        except Full:
            return "refused"
        return "served"

    said = list[str]()

    async def all_of() -> None:
        said.extend(await asyncio.gather(*(call(number) for number in range(5))))

    await clock.run(all_of())
    assert sorted(said) == ["refused", "refused", "served", "served", "served"]
    assert (engine.served, engine.refused) == (3, 2)
    assert clock.now == pytest.approx(2, abs=0.1)
    assert engine.busy_s == pytest.approx(3, abs=0.1)
