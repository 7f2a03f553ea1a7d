"""Sends the reminders of a step, each once on its day: a letter to the applicant, a notice to those who have a task.

Whether one goes out is decided under the case's lock, by the case's own dates: what was accepted before counts first,
and none goes out while legal dates stand still.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog
from pydantic import JsonValue

from activities.correspondence import Typeset, code_of_letter, seal, send
from activities.dossier import Dossier, read_dossier
from activities.letters import Letter, Occasion, compose_reminder
from activities.moves import announce
from diwan.domain.actor import rule
from diwan.domain.case import step_key
from diwan.domain.ports import Keyring
from diwan.domain.tenant import TenantSettings
from diwan.procedures import reminders
from diwan.procedures.steps import TaskStep, WaitStep
from diwan.store import cases, letters, tasks, tenants
from diwan.store.change import Change, change_case
from diwan.store.clock_watch import ClockWatch
from diwan.store.database import Database
from workflows.calls import CaseRef

log = structlog.get_logger()

TASK_REMINDED = "diwan.task.reminded"


class Reminders:
    """`db` connects as diwan_worker."""

    def __init__(
        self, db: Database, keyring: Keyring, typeset: Typeset, clock: Callable[[], datetime], watch: ClockWatch
    ) -> None:
        self._db = db
        self._keyring = keyring
        self._typeset = typeset
        self._clock = clock
        self._watch = watch

    async def send_next(self, ref: CaseRef) -> bool:
        """Sends the reminder whose day came first; False where none is to go out now.

        True, too, where something came in or changed meanwhile: that is taken first, and then one looks again.
        """
        cipher = await self._keyring.cipher(ref.tenant, ref.case)
        now = self._clock()
        async with self._db.transaction(ref.tenant) as conn:
            case = await cases.get_case(conn, ref.tenant, ref.case)
            place = reminders.due(case.state, now)
            if place is None or case.inbox_last > case.inbox_cursor:
                return place is not None
            dossier = await read_dossier(conn, case, cipher)
            settings = TenantSettings.model_validate(await tenants.settings_of(conn, ref.tenant))
            written = await letters.letters_of(conn, ref.tenant, case.id, cipher)
        key = step_key(case.id, case.state.step, case.state.visit, f"reminder-{place + 1}")
        code = await code_of_letter(self._keyring, ref.tenant, key)
        letter = _letter(dossier, Occasion(settings, now, f"{case.number}/{len(written) + 1}", code), written)
        sealed = await seal(cipher, key, letter, self._typeset) if letter else None
        async with (
            self._db.transaction(ref.tenant) as conn,
            change_case(conn, ref.tenant, ref.case, now=now) as change,
        ):
            if change.case.version != case.version:
                change.unchanged()
                return True
            standing = await self._watch.look(conn, ref.tenant)
            if reminders.due(change.state, standing.legal(change.now)) != place:
                change.unchanged()
                log.warning("case.reminder_stands_still", tenant=ref.tenant, case=ref.case)
                return False
            await _record(change, dossier, place, sealed, written)
        return True


def _letter(dossier: Dossier, occasion: Occasion, written: Sequence[letters.LetterRow]) -> Letter | None:
    """What reminds the applicant; None at a task, whose people get no letter."""
    step = dossier.procedure.steps[dossier.case.state.step]
    return compose_reminder(dossier, occasion, step, written) if isinstance(step, WaitStep) else None


async def _record(
    change: Change,
    dossier: Dossier,
    place: int,
    sealed: letters.SealedLetter | None,
    written: Sequence[letters.LetterRow],
) -> None:
    state = change.state
    state.reminders = reminders.sent(state, place, change.now)
    change.blocked = ""
    change.plan(change.case.kind, reminders.wake_at(state))
    actor = rule(change.case.tenant, "reminders")
    if sealed is not None:
        said = await send(change, sealed, actor, written)
        commitments = {"letter": sealed.address.encode()}
        change.record(
            *("letter:letter:issued", actor),
            cipher=dossier.cipher,
            commitments=commitments,
            detail={**said, "reminder": place + 1},
        )
        return
    step = dossier.procedure.steps[state.step]
    assert isinstance(step, TaskStep)
    reminder = step.remind[place]
    task = await tasks.mark_reminded(change)
    roles = [role.value for role in reminder.to or step.roles]
    due_on = state.periods[reminder.period].due_on.isoformat()
    notice: dict[str, JsonValue] = {
        "task": task,
        "step": state.step,
        "roles": [*roles],
        "period": reminder.period,
        "due_on": due_on,
    }
    await announce(change, TASK_REMINDED, notice)
    detail = {"task": task, "reminder": place + 1, "to": " ".join(roles)}
    change.record("task:reminder:sent", actor, cipher=dossier.cipher, detail=detail)
