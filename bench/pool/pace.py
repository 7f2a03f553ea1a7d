"""How long an engine takes, how many calls it runs at once, and what of a prompt it has computed before.

A model of an engine, not an engine. Prefill is the engine's own and is done for one call at a time; decoding takes as
long for each token whoever else decodes, up to `slots` calls. What either takes is from published measurements of vLLM:

- 16.2 ms a token: Llama 3 70B on four H200, batch of 8, 32 tokens in, 128 out, 2,077.5 ms (vLLM's own performance
  benchmark, build 9515);
- 2,700 prompt tokens a second: a prefix of 10,000 tokens takes 4.3 s cold and 0.6 s warm (llm-d's figures on H100).

Calls beyond `slots` wait in order, as vLLM's do; beyond `queue` of them it answers 503 (`--max-num-queued-reqs`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from diwan.embedded.demo_engine.prefix_cache import PrefixCache, tokens_of


class Full(Exception):
    """No slot, and no place in the queue."""


@dataclass(frozen=True)
class Pace:
    """Seconds a token of an answer, prompt tokens a second, calls at once, calls that may wait."""

    token_s: float = 0.0162
    prefill_a_second: float = 2_700.0
    slots: int = 4
    queue: int = 1_000_000

    def seconds(self, fresh: int, answer: int) -> float:
        """Alone on its engine, of so many prompt tokens that are not in its cache and so many of the answer."""
        return fresh / self.prefill_a_second + answer * self.token_s


@dataclass
class PacedEngine:
    """One engine. `busy_s` is slot-seconds in use since the start, up to now."""

    pace: Pace
    cache: PrefixCache = field(default_factory=PrefixCache)
    running: int = 0
    waiting: int = 0
    served: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.pace.slots)
        self._prefill = asyncio.Lock()
        self._busy_s = 0.0
        self._since = time.monotonic()

    @property
    def busy_s(self) -> float:
        return self._busy_s + self.running * (time.monotonic() - self._since)

    async def call(self, prompt: str, salt: str, answer: int) -> int:
        """Takes as long as it takes; how many prompt tokens were cached. Raises `Full`."""
        async with self._slot():
            async with self._prefill:
                cached = self.cache.cached_tokens(prompt, salt)
                await asyncio.sleep(self.pace.seconds(tokens_of(prompt) - cached, 0))
            await asyncio.sleep(self.pace.seconds(0, answer))
            self.served += 1
            return cached

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        if self._slots.locked() and self.waiting >= self.pace.queue:
            self.refused += 1
            raise Full
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)
            self._slots.release()

    def _count(self, more: int) -> None:
        self._busy_s = self.busy_s
        self._since = time.monotonic()
        self.running += more
