"""The gate of a host: its workers ask Temporal for a call only when the engine has room for one.

Both queues of a host (its model's, and its own) share one gate. Room counts calls that run, never permits that wait: an
idle poller holds a permit for as long as its queue is empty, and core asks for the next one ahead. Counted as room,
the permits of one empty queue keep the other from being asked at all (tests/pool/test_gate.py shows it).

The host's own queue goes first: what waits there are calls of runs that it has begun, whose prompts its engine holds.
Were both asked alike, half of its slots would go to new runs, of which each brings several calls more: they pile up,
wait too long, and are computed anew elsewhere. So the model's queue is asked when the own one has nothing: it was asked
a moment ago and brought nothing since.
"""

from __future__ import annotations

import asyncio
import threading
import time
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
# A poll of a queue in which something waits brings it within milliseconds; this is for a busy machine.
_QUIET_S = 0.15
# So many calls of the first queue in a row, then one of the other: a host whose runs never end takes new ones all the
# same, and an urgent one is among them.
_IN_A_ROW = 8


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
        self._asking: Counter[str] = Counter()
        self._first = ""
        self._stirred = 0.0  # when the first queue was asked last, or brought something
        self._in_a_row = 0
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

    def prefer(self, queue: str) -> None:
        """Ask this queue first, and others when it has nothing."""
        with self._lock:
            self._first = queue

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
        """A permit to poll `ctx.task_queue`, once there is room and its turn has come."""
        loop, queue = asyncio.get_running_loop(), ctx.task_queue
        with self._lock:
            self._asking[queue] += 1
        try:
            while True:
                with self._lock:
                    held_back_s = self._held_back_s(queue) if self._has_room(queue) else None
                    if held_back_s == 0.0:
                        return self._granted(queue)
                    woken = loop.create_future()
                    self._waiting[woken] = loop
                look_again = loop.call_later(held_back_s, _looks_again, woken) if held_back_s else None
                try:
                    await woken
                finally:
                    with self._lock:
                        self._waiting.pop(woken, None)
                    if look_again:
                        look_again.cancel()
        finally:
            with self._lock:
                self._asking[queue] -= 1

    def _has_room(self, queue: str) -> bool:
        return self._open and self._used < self._room and self._idle[queue] < _IDLE

    def _held_back_s(self, queue: str) -> float:
        """How long yet this queue is not asked for the first one's sake."""
        if queue == self._first or self._in_a_row >= _IN_A_ROW:
            return 0.0
        if self._asking[self._first] and not self._idle[self._first]:
            return _QUIET_S  # it is about to be asked: whoever is woken first, it goes first
        return max(self._stirred + _QUIET_S - time.monotonic(), 0.0)

    def _granted(self, queue: str) -> _Permit:
        self._idle[queue] += 1
        if queue == self._first:
            self._stirred = time.monotonic()
        return _Permit(queue)

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
            if permit.queue == self._first:
                self._stirred = time.monotonic()
                self._in_a_row += 1
            else:
                self._in_a_row = 0
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
