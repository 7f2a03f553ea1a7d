"""Reruns, as the case worker carries them: which hosts may take the call, and the end of one that none took."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from temporalio import activity

from diwan.domain.actor import system
from diwan.domain.ports import Keyring
from diwan.domain.rerun import Outcome
from diwan.store.call_records import call_record
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.pool_hosts import LIVE_S, hosts
from diwan.store.reruns import end_rerun, fit_hosts, get_rerun
from diwan.temporal import host_queue, model_queue
from workflows.calls import END_RERUN, PLAN_RERUN, RerunEnd, RerunPlan, RerunRef

Clock = Callable[[], datetime]

# Hosts that are tried before they are looked for anew.
_MOST_HOSTS = 4


class Reruns:
    """`db` connects as diwan_worker; `call_limit_s` is what one call may take."""

    def __init__(self, db: Database, keyring: Keyring, clock: Clock, *, call_limit_s: int) -> None:
        self._db = db
        self._keyring = keyring
        self._clock = clock
        self._call_limit_s = call_limit_s

    @activity.defn(name=PLAN_RERUN.name)
    async def plan_rerun(self, given: RerunRef) -> RerunPlan:
        """The queues of the hosts that may take it now, the best first.

        Only those with room to spare: what waits for a full one, an agent's call, is more urgent.
        """
        async with self._db.transaction(given.tenant, snapshot=True) as conn:
            row = await get_rerun(conn, given.tenant, given.case, given.rerun)
            if row.status is not Outcome.ASKED:
                return RerunPlan(outcome=row.status.value)
            record = await call_record(conn, given.tenant, given.case, row.number)
            fit = fit_hosts(record.then, await hosts(conn, seen_within_s=LIVE_S))
        queue = model_queue(record.then.model)
        free = [host for host in fit if host.calls < host.room]
        return RerunPlan(
            outcome=row.status.value,
            queues=[host_queue(queue, host.host) for host in free[:_MOST_HOSTS]],
            why="" if free else "rerun.no_room" if fit else "rerun.no_host",
            call_limit_s=self._call_limit_s,
        )

    @activity.defn(name=END_RERUN.name)
    async def end_rerun(self, given: RerunEnd) -> str:
        """Ends it as not run, unless it has ended; gives how it ended."""
        cipher = await self._keyring.cipher(given.tenant, given.case)
        async with (
            self._db.transaction(given.tenant) as conn,
            change_case(conn, given.tenant, given.case, now=self._clock()) as change,
        ):
            row = await get_rerun(conn, given.tenant, given.case, given.rerun)
            await end_rerun(change, row, system(given.tenant, "worker"), cipher, reason=given.reason)
        async with self._db.transaction(given.tenant) as conn:
            return (await get_rerun(conn, given.tenant, given.case, given.rerun)).status.value
