"""The activities of the case workflow: read what comes next, take what is in the inbox, act, wake, block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import structlog
from temporalio import activity

from activities.correspondence import Correspondence
from activities.dossier import Dossier, read_dossier
from activities.events import take
from activities.heartbeat import heartbeats
from activities.moves import carry, plan_of
from activities.reminders import Reminders
from diwan.domain.actor import rule, system
from diwan.domain.case import CaseStatus, Plan, StepKind
from diwan.domain.ports import Keyring
from diwan.procedures.flow import on_time
from diwan.store import cases, clock_watch, inbox
from diwan.store.change import Change, change_case
from diwan.store.clock_watch import ClockWatch
from diwan.store.database import Database
from workflows.calls import BLOCK_CASE, DRAIN_INBOX, LOAD_CASE, PERFORM_STEP, WAKE, BlockInput, CaseRef, StepRef

log = structlog.get_logger()

Clock = Callable[[], datetime]


class CaseActivities:
    """`db` connects as diwan_worker."""

    def __init__(
        self,
        db: Database,
        keyring: Keyring,
        correspondence: Correspondence,
        reminders: Reminders,
        clock: Clock,
        watch: ClockWatch,
    ) -> None:
        self._db = db
        self._keyring = keyring
        self._correspondence = correspondence
        self._reminders = reminders
        self._clock = clock
        self._watch = watch

    @activity.defn(name=LOAD_CASE.name)
    async def load_case(self, ref: CaseRef) -> Plan:
        """What comes next, as Postgres has it."""
        async with self._db.transaction(ref.tenant) as conn:
            return plan_of(await cases.get_case(conn, ref.tenant, ref.case), self._clock())

    @activity.defn(name=DRAIN_INBOX.name)
    async def drain_inbox(self, ref: CaseRef) -> Plan:
        """Takes every event after the cursor, one transaction each."""
        while await self._take_next(ref):
            activity.logger.debug("event.taken")
        return await self.load_case(ref)

    async def _take_next(self, ref: CaseRef) -> bool:
        cipher = await self._keyring.cipher(ref.tenant, ref.case)
        async with (
            self._db.transaction(ref.tenant) as conn,
            change_case(conn, ref.tenant, ref.case, now=self._clock()) as change,
        ):
            events = await inbox.pending(conn, ref.tenant, ref.case, change.case.inbox_cursor, limit=1)
            if not events:
                change.unchanged()
                return False
            dossier = await read_dossier(conn, change.case, cipher)
            # A date that was over when the event came counts before it, however late both are looked at.
            if not await self._expire(change, dossier, events[0].accepted_at):
                await take(change, dossier, events[0])
        return True

    async def _expire(self, change: Change, dossier: Dossier, at: datetime) -> bool:
        """Takes the earliest date that was over at `at`, with its entry; False where none was.

        Where the clock may not be trusted no date falls after the last instant at which it could.
        """
        move = on_time(dossier.procedure, change.state, at, dossier.calendar)
        if move is None:
            return False
        standing = await self._watch.look(change.conn, change.case.tenant)
        if standing.frozen:
            move = on_time(dossier.procedure, change.state, standing.legal(at), dossier.calendar)
        if move is None:
            log.warning("case.date_stands_still", tenant=change.case.tenant, case=change.case.id)
            return False
        await carry(change, dossier, move)
        change.record(
            "case:period:expired",
            rule(change.case.tenant, "periods"),
            cipher=dossier.cipher,
            detail={"to": move.state.step, "result": move.state.result.value if move.state.result else ""},
        )
        return True

    @activity.defn(name=WAKE.name)
    async def wake(self, ref: CaseRef) -> Plan:
        """A date has come: what was accepted before it is taken first, then one transaction under the lock decides.

        Reminders go out after all dates that are over: nobody is reminded of what is too late, and a reminder that
        cannot be sent keeps no date from falling.
        """
        while True:
            await self.drain_inbox(ref)
            if not (await self._next_date(ref) or await self._reminders.send_next(ref)):
                return await self._after_dates(ref)

    async def _after_dates(self, ref: CaseRef) -> Plan:
        """What comes next; no date to wait for while dates stand still: the relay rings when they fall again."""
        async with self._db.transaction(ref.tenant) as conn:
            case = await cases.get_case(conn, ref.tenant, ref.case)
            frozen = case.wake_at and (await clock_watch.standing(conn, ref.tenant)).frozen
        return plan_of(replace(case, wake_at=None) if frozen else case, self._clock())

    async def _next_date(self, ref: CaseRef) -> bool:
        """Takes the earliest date that is over; False where none is."""
        cipher = await self._keyring.cipher(ref.tenant, ref.case)
        async with (
            self._db.transaction(ref.tenant) as conn,
            change_case(conn, ref.tenant, ref.case, now=self._clock()) as change,
        ):
            if change.case.inbox_last > change.case.inbox_cursor:
                change.unchanged()
                return True  # an event slipped in: it is taken first
            dossier = await read_dossier(conn, change.case, cipher)
            expired = await self._expire(change, dossier, change.now)
            if not expired:
                change.unchanged()
            return expired

    @activity.defn(name=PERFORM_STEP.name)
    async def perform_step(self, step: StepRef) -> Plan:
        """Carries out a step that issues a letter: once, whatever is retried."""
        async with heartbeats():
            while not await self._correspondence.issue(step):
                log.info("step.changed_meanwhile", tenant=step.tenant, case=step.case, step=step.step)
            return await self.load_case(step)

    @activity.defn(name=BLOCK_CASE.name)
    async def block_case(self, given: BlockInput) -> Plan:
        """Marks a case whose step cannot be done now, on the ledger and in the log: somebody has to look."""
        async with (
            self._db.transaction(given.tenant) as conn,
            change_case(conn, given.tenant, given.case, now=self._clock()) as change,
        ):
            if change.blocked == given.code or change.status is CaseStatus.CLOSED or change.case.kind is StepKind.END:
                change.unchanged()
            else:
                change.blocked = given.code
                change.record("case:case:blocked", system(given.tenant, "worker"), detail={"code": given.code[:200]})
                # Where it stands now: the workflow knows only where it began.
                where = {"tenant": given.tenant, "case": given.case, "step": change.state.step}
                log.error("case.blocked", **where, code=given.code)
        return await self.load_case(given)
