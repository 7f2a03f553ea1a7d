"""Calls that an engine has: given up together when it is known to be dead, not each when its own time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from diwan.domain.errors import Unavailable

GIVEN_UP = "engine.given_up"

Came = TypeVar("Came")


class InFlight:
    """Of one engine."""

    def __init__(self) -> None:
        self._asking: set[asyncio.Task[Any]] = set()

    async def ask(self, call: Coroutine[Any, Any, Came]) -> Came:
        """What `call` gives. Raises `Unavailable` (`engine.given_up`) where it is given up meanwhile."""
        task = asyncio.create_task(call)
        self._asking.add(task)
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait((task,))
            raise
        finally:
            self._asking.discard(task)
        if task.cancelled():
            raise Unavailable(GIVEN_UP, "The engine is dead, and its call given up.", "Another host takes the call.")
        return task.result()

    def give_up(self) -> int:
        """How many were."""
        for task in self._asking:
            task.cancel()
        return len(self._asking)
