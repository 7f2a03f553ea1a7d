"""Each run of a workflow is known to Postgres before it has done anything, and what it does names it.

So which runs there were does not hang on Temporal, which forgets; diwan/histories.py keeps their histories.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from diwan.store.database import Database
from diwan.store.histories import Run, know_runs
from diwan.store.origin import written_by

# Runs that this process has seen written down.
_REMEMBERED = 10_000


class Registered(Interceptor):
    """`db` connects as diwan_worker; None beside an engine, where no run begins."""

    def __init__(self, db: Database | None, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Registered(next, self)

    async def know(self, run: Run) -> None:
        """Writes it down, once a process; what is known already stays as it is."""
        key = (run.tenant, run.run_id)
        if self._db is None or key in self._known:
            return
        async with self._db.transaction(run.tenant) as conn:
            await know_runs(conn, [run], now=self._clock())
        self._known[key] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


class _Registered(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, runs: Registered) -> None:
        super().__init__(next)
        self._runs = runs

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info, given = activity.info(), input.args[0]
        run, workflow = info.workflow_run_id, info.workflow_id
        if not run or not workflow:
            return await self.next.execute_activity(input)
        await self._runs.know(Run(given.tenant, run, workflow, given.case))
        with written_by(run, info.activity_id):
            return await self.next.execute_activity(input)
