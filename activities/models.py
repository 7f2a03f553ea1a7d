"""Which model answers an agent run: the best of those that may serve its procedure and have a host."""

from __future__ import annotations

from collections.abc import Sequence

from diwan.store.connection import Connection
from diwan.store.pool_hosts import LIVE_S, SERVING, hosts


async def with_a_host(conn: Connection, listed: Sequence[str]) -> str:
    """The first of `listed` (best first) that has a host which serves, as hosts say of themselves.

    The first of all where none has: a host may come while the run waits. Empty where none is listed.
    """
    if len(listed) > 1:
        there = {host.model for host in await hosts(conn, seen_within_s=LIVE_S) if host.state == SERVING}
        listed = [*(model for model in listed if model in there), *listed]
    return next(iter(listed), "")
