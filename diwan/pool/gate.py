"""The gate of a host: its workers ask Temporal for a call only when the engine has room for one.

Both queues of a host (its model's, and its own) share one gate. Room counts calls that run, never permits that wait: an
idle poller holds a permit for as long as its queue is empty, and core asks for the next one ahead. Counted as room,
the permits of one empty queue keep the other from being asked at all (tests/pool/test_gate.py shows it).
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

from temporalio.worker import (
    CustomSlotSupplier,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
)

# A poll that waits for each queue: more would only take more than there is room for.
_IDLE = 1


class _Permit(SlotPermit):
    """`used` once a call runs on it."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.used = False


class Gate(CustomSlotSupplier):
    """At most `room` calls run, and one more for each further queue: where a poll of each waited and both got one.

    Core marks and releases from threads of its own, so what is counted is behind a lock, and who waits is woken through
    its loop.
    """

    def __init__(self, room: int) -> None:
        self._lock = threading.Lock()
        self._room = room
        self._open = True
        self._used = 0
        self._idle: Counter[str] = Counter()
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}

    @property
    def room(self) -> int:
        """Calls that may run at once, while the gate is open."""
        return self._room

    @property
    def used(self) -> int:
        """Calls that run."""
        return self._used

    @property
    def is_open(self) -> bool:
        return self._open

    def set_room(self, room: int) -> None:
        """Raise or lower it: what runs goes on, the next is asked for when there is room again."""
        with self._lock:
            self._room = room
        self._wake()

    def close(self) -> None:
        """Ask for nothing more. A poll that waits already may still bring one call for each queue."""
        with self._lock:
            self._open = False

    def open(self) -> None:
        """Ask again."""
        with self._lock:
            self._open = True
        self._wake()

    # --- what Temporal's core asks and says ------------------------------------------------------------------------

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        """A permit to poll `ctx.task_queue`, once there is room."""
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                if self._open and self._used < self._room and self._idle[ctx.task_queue] < _IDLE:
                    self._idle[ctx.task_queue] += 1
                    return _Permit(ctx.task_queue)
                woken = loop.create_future()
                self._waiting[woken] = loop
            try:
                await woken
            finally:
                with self._lock:
                    self._waiting.pop(woken, None)

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        """For eager tasks, which come without a poll: there are none here."""
        return None

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        """A call came on this permit."""
        permit = ctx.permit
        assert isinstance(permit, _Permit)
        with self._lock:
            permit.used = True
            self._idle[permit.queue] -= 1
            self._used += 1
        self._wake()

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        """Its call has ended, or none came."""
        permit = ctx.permit
        assert isinstance(permit, _Permit)
        with self._lock:
            if permit.used:
                self._used -= 1
            else:
                self._idle[permit.queue] -= 1
        self._wake()

    def _wake(self) -> None:
        """Whoever waits looks again."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for woken, loop in waiting.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_looks_again, woken)


def _looks_again(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
