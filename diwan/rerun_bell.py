"""Rings for recorded model calls that somebody asked to send again: each has a workflow of its own until it has ended.

A ring may be lost or doubled without harm: what has not ended is rung for again, and whoever carries it out looks in
Postgres first.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError

from diwan.store.database import Database
from diwan.store.reruns import Asked, asked_reruns
from diwan.temporal import CASE_QUEUE, LEAST_URGENT, turn_of

log = structlog.get_logger()

# A workflow that is lost (Temporal's data with it) is missed for so long.
_AGAIN_S = 30.0


class RerunBell:
    """`db` connects as diwan_relay; `clock` counts seconds."""

    def __init__(self, db: Database, client: Client, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._client = client
        self._clock = clock
        self._rung: dict[Asked, float] = {}

    async def pass_once(self) -> int:
        """Rings for each that is due; returns 0: there is never more to do at once."""
        async with self._db.transaction(None) as conn:
            asked = await asked_reruns(conn)
        self._rung = {each: at for each, at in self._rung.items() if each in asked}
        for each in asked:
            if self._clock() - self._rung.get(each, -_AGAIN_S) < _AGAIN_S:
                continue
            try:
                await self._ring(each)
            except RPCError as error:
                log.warning("rerun.ring_failed", tenant=each.tenant, case=each.case, status=error.status.name)
                continue
            self._rung[each] = self._clock()
        return 0

    async def _ring(self, asked: Asked) -> None:
        await self._client.start_workflow(
            "Rerun",
            {"tenant": asked.tenant, "case": asked.case, "rerun": asked.rerun},
            id=f"{asked.tenant}/{asked.case}/rerun/{asked.rerun}",
            task_queue=CASE_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            priority=turn_of(asked.tenant, LEAST_URGENT),
        )
