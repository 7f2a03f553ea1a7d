"""Brings cases back: what Postgres says of them against what Temporal has, and a ring where that is too little.

Postgres is the authority, so there is nothing to repair in a case itself: a ring starts a workflow that goes on from
`load_case`. The sweeper names what no ring helps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

import structlog
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from diwan.domain.case import StepKind
from diwan.domain.errors import Unavailable
from diwan.procedures.urgency import priority
from diwan.store.database import Database
from diwan.store.stuck import Standing, Stuck, Why, open_cases, stuck_cases
from diwan.temporal import CASE_QUEUE, turn_of

log = structlog.get_logger()

Clock = Callable[[], datetime]

# How often a workflow task may fail before it counts as a bug: the first failure may be a worker that died.
_FAILURES = 3
# A workflow task that no worker has taken for so long: none polls, or none of the version that is current.
_UNTAKEN = timedelta(minutes=1)
_AT_ONCE = 16
# A stuck case is named when it is found, and again after so long while it still is.
_NAMED_AGAIN = timedelta(hours=1)


class Found(StrEnum):
    """What Temporal has of a case."""

    RUNNING = "running"
    NO_WORKFLOW = "no_workflow"
    FAILING = "failing"  # its workflow task fails again and again: a bug in workflow code, or code that does not fit
    UNTAKEN = "untaken"  # no worker takes its workflow task


async def ring(client: Client, tenant: str, case: str, turn: Priority, *, afresh: bool = False) -> None:
    """Signal-with-start. `turn` says when it comes to be carried out among others, once it is started.

    `afresh`: what runs is ended first, and a new run goes on from Postgres. Raises `RPCError`.
    """
    running = WorkflowIDConflictPolicy.TERMINATE_EXISTING if afresh else WorkflowIDConflictPolicy.USE_EXISTING
    await client.start_workflow(
        "Case",
        {"tenant": tenant, "case": case},
        id=f"{tenant}/{case}",
        task_queue=CASE_QUEUE,
        start_signal="ring",
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy=running,
        priority=turn,
    )


async def look(client: Client, tenant: str, case: str, now: datetime) -> Found:
    """What Temporal has of a case. Raises `RPCError` where it does not answer."""
    try:
        seen = await client.get_workflow_handle(f"{tenant}/{case}").describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return Found.NO_WORKFLOW
        raise
    if seen.status is not WorkflowExecutionStatus.RUNNING:
        return Found.NO_WORKFLOW
    task = seen.raw_description.pending_workflow_task
    if task.attempt >= _FAILURES:
        return Found.FAILING
    waits = task.HasField("scheduled_time") and not task.HasField("started_time")
    if waits and now - task.scheduled_time.ToDatetime(now.tzinfo) > _UNTAKEN:
        return Found.UNTAKEN
    return Found.RUNNING


@dataclass(frozen=True)
class Repair:
    """`done` is empty where nothing was to be done."""

    standing: Standing
    found: Found
    done: str

    @property
    def waits_for(self) -> str:
        """What the case waits for, as Postgres has it."""
        standing = self.standing
        if standing.events:
            return f"{standing.events} of its events to be taken"
        until = f" or {standing.wake_at:%Y-%m-%d %H:%M}Z" if standing.wake_at else ""
        return {
            StepKind.ACT: "the service",
            StepKind.AGENT: "the agent",
            StepKind.TASK: "a person",
            StepKind.WAIT: "an event",
            StepKind.END: "nothing",
        }[standing.kind] + until


async def repair(db: Database, client: Client, clock: Clock) -> list[Repair]:
    """Compares every open case of all tenants with Temporal and brings back what is not there.

    `db` connects as diwan_relay. Raises `Unavailable` where Temporal goes away meanwhile; what was rung stays rung.
    """
    done: list[Repair] = []
    after = ("", "")
    while True:
        async with db.transaction(None) as conn:
            page = await open_cases(conn, after=after)
        if not page:
            return done
        after = (page[-1].tenant, page[-1].case)
        done += await _together(page, lambda standing: _repaired(client, standing, clock()))


Item = TypeVar("Item")
Given = TypeVar("Given")


async def _together(items: Sequence[Item], work: Callable[[Item], Awaitable[Given]]) -> list[Given]:
    places = asyncio.Semaphore(_AT_ONCE)

    async def in_place(item: Item) -> Given:
        async with places:
            return await work(item)

    return list(await asyncio.gather(*(in_place(item) for item in items)))


async def _repaired(client: Client, standing: Standing, now: datetime) -> Repair:
    try:
        found = await look(client, standing.tenant, standing.case, now)
        done = "rung" if found is Found.NO_WORKFLOW or (found is Found.RUNNING and _may_help(standing)) else ""
        if found is Found.FAILING:
            done = "begun anew"
        if done:
            await ring(client, standing.tenant, standing.case, _turn(standing, now), afresh=found is Found.FAILING)
    except RPCError as error:
        raise Unavailable("temporal.unavailable", "Temporal does not answer.", "Try again.") from error
    return Repair(standing, found, done)


def _turn(standing: Standing, now: datetime) -> Priority:
    return turn_of(standing.tenant, priority(standing.rises, now), standing.weight)


def _may_help(standing: Standing) -> bool:
    """Whether a ring may move a case whose workflow lives: it tries a blocked step again at once."""
    return bool(standing.blocked or standing.events)


class Sweeper:
    """Finds the cases that nobody moves, names each in the log (`case.stuck`), rings those that a ring may help.

    `db` connects as diwan_relay.
    """

    def __init__(self, db: Database, client: Client, clock: Clock) -> None:
        self._db = db
        self._client = client
        self._clock = clock
        self._named: dict[tuple[str, str, Why], datetime] = {}

    async def pass_once(self) -> int:
        """Returns 0: there is never more to do at once."""
        now = self._clock()
        async with self._db.transaction(None) as conn:
            stuck = await stuck_cases(conn, now)
        found = await _together(stuck, lambda each: self._found(each, now))
        keys = {_key(each) for each in stuck}
        self._named = {key: at for key, at in self._named.items() if key in keys and at > now - _NAMED_AGAIN}
        for each, there in zip(stuck, found, strict=True):
            if _key(each) not in self._named:
                self._named[_key(each)] = now
                _name(each, there)
        return 0

    async def _found(self, stuck: Stuck, now: datetime) -> str:
        """What Temporal has of it, rung where that is nothing; `unknown` where Temporal does not answer."""
        try:
            found = await look(self._client, stuck.tenant, stuck.case, now)
            if found is Found.NO_WORKFLOW:
                await ring(self._client, stuck.tenant, stuck.case, _turn(stuck, now))
        except RPCError:
            return "unknown"
        return found.value


def _key(stuck: Stuck) -> tuple[str, str, Why]:
    return stuck.tenant, stuck.case, stuck.why


def _name(stuck: Stuck, workflow: str) -> None:
    log.error(
        "case.stuck",
        tenant=stuck.tenant,
        case=stuck.case,
        number=stuck.number,
        step=stuck.step,
        visit=stuck.visit,
        why=stuck.why.value,
        code=stuck.blocked,
        since=stuck.since.isoformat(),
        workflow=workflow,
    )
