"""Keeps the history of every run that has ended, before Temporal deletes it.

Postgres says which runs there are (store/histories.py): each is looked at now and then until it has ended, and then its
history is fetched, read, sealed and stored with its entry, in one transaction. Whoever dies in between begins again; a
history that is kept is not kept twice. Several workers may do it: each look is taken by one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from diwan.domain.errors import DiwanError, NotFound
from diwan.domain.ports import Keyring
from diwan.ledger.history import History, read_history, whole
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.histories import (
    OpenRun,
    Run,
    give_up_erased,
    keep_history,
    know_runs,
    lose_history,
    mark_closed,
    mark_missing,
    runs_to_look_at,
    seal_history,
    take_look,
)

log = structlog.get_logger()

# Together: a history is as large as 50 MiB.
_AT_ONCE = 4
# A run that Temporal does not know for so long is lost: an address that was wrong for an hour loses nothing.
GIVEN_UP = timedelta(days=1)


class Histories:
    """`db` connects as diwan_worker."""

    def __init__(self, db: Database, keyring: Keyring, client: Client, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._keyring = keyring
        self._client = client
        self._clock = clock

    async def pass_once(self) -> int:
        """Looks at the runs that are due; returns how many histories were kept. Temporal being away delays."""
        async with self._db.transaction(None) as conn:
            due = await runs_to_look_at(conn, self._clock())
        places = asyncio.Semaphore(_AT_ONCE)

        async def looked(run: OpenRun) -> bool:
            async with places:
                return await self._look(run)

        return sum(await asyncio.gather(*(looked(run) for run in due)))

    async def _look(self, run: OpenRun) -> bool:
        """Whether its history was kept by this look. What fails is looked at again later, and counts as waiting."""
        if not await self._take(run):
            return False
        try:
            seen = await self._described(run)
            if seen is None or seen.status is WorkflowExecutionStatus.RUNNING:
                return False
            return await self._keep(run, seen)
        except (RPCError, DiwanError) as error:
            code = error.code if isinstance(error, DiwanError) else error.status.name
            log.warning("history.not_kept", tenant=run.tenant, case=run.case_id, run=run.run_id, code=code)
            return False

    async def _take(self, run: OpenRun) -> bool:
        async with self._db.transaction(run.tenant) as conn:
            return await take_look(conn, run, self._clock())

    def _handle(self, run: Run) -> WorkflowHandle[object, object]:
        return self._client.get_workflow_handle(run.workflow_id, run_id=run.run_id)

    async def _described(self, run: OpenRun) -> WorkflowExecutionDescription | None:
        """None where Temporal does not know it: for long enough, and it is lost. Raises `RPCError`."""
        try:
            seen = await self._handle(run).describe()
        except RPCError as error:
            if not _no_such_run(error):
                raise
            await self._missed(run)
            return None
        closed = seen.status is not WorkflowExecutionStatus.RUNNING
        if run.missing_since is not None or closed:
            async with self._db.transaction(run.tenant) as conn:
                await mark_missing(conn, run, None)
                if closed:
                    await mark_closed(conn, run, seen.close_time or self._clock())
        return seen

    async def _keep(self, run: OpenRun, seen: WorkflowExecutionDescription) -> bool:
        """Raises `Tampered` where Temporal gave less than the whole history."""
        fetched = await self._handle(run).fetch_history()
        # Temporal's own JSON, compact: what its replayer and its command line read.
        content = json.dumps(fetched.to_json_dict(), ensure_ascii=False, separators=(",", ":")).encode()
        history = whole(read_history(content, run.workflow_id))
        cipher = await self._keyring.cipher(run.tenant, run.case_id)
        try:
            made = await asyncio.to_thread(seal_history, cipher, run.run_id, content)
        except NotFound:
            await self._erased(run)
            return False
        async with (
            self._db.transaction(run.tenant) as conn,
            change_case(conn, run.tenant, run.case_id, now=self._clock()) as change,
        ):
            await know_runs(conn, _led_to(run, history), now=self._clock())
            return await keep_history(
                *(change, cipher, run, made),
                workflow=history.workflow,
                events=history.events,
                ended=history.ended,
            )

    async def _missed(self, run: OpenRun) -> None:
        now = self._clock()
        if run.missing_since is None or now - run.missing_since < GIVEN_UP:
            async with self._db.transaction(run.tenant) as conn:
                await mark_missing(conn, run, run.missing_since or now)
            return
        cipher = await self._keyring.cipher(run.tenant, run.case_id)
        try:
            async with (
                self._db.transaction(run.tenant) as conn,
                change_case(conn, run.tenant, run.case_id, now=now) as change,
            ):
                lost = await lose_history(change, cipher, run, run.missing_since)
        except NotFound:
            await self._erased(run)
            return
        if lost:
            log.error("history.lost", tenant=run.tenant, case=run.case_id, run=run.run_id)

    async def _erased(self, run: Run) -> None:
        async with self._db.transaction(run.tenant) as conn:
            await give_up_erased(conn, run)


def _led_to(run: Run, history: History) -> list[Run]:
    """Those that its history names: children, the run before it and the one after, whether or not they did anything."""
    named = {run_id: workflow for workflow, run_id in history.leads_to}
    if history.follows:
        named[history.follows] = run.workflow_id
    return [Run(run.tenant, run_id, workflow, run.case_id) for run_id, workflow in named.items()]


def _no_such_run(error: RPCError) -> bool:
    """The run, and not the namespace that it would be in."""
    if error.status is not RPCStatusCode.NOT_FOUND:
        return False
    return any(each.Is(NotFoundFailure.DESCRIPTOR) for each in error.grpc_status.details)
