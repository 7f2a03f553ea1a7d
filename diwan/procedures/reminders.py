"""Reminders of the step at which a case stands: on which day each goes out, by the dates of the case itself.

They are written down with every move, like the periods that they count from, so that sending one needs nothing but the
case's own state: what a calendar says later moves a reminder with the case's next move, and not before.
"""

from __future__ import annotations

from datetime import date, datetime

from diwan.domain.case import CaseState, ReminderState
from diwan.procedures import periods
from diwan.procedures.periods import Calendar
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import Step, TaskStep, WaitStep


def scheduled(procedure: Procedure, state: CaseState, calendar: Calendar) -> list[ReminderState]:
    """The reminders of the step at which the case stands, in the order of the file; what went out stays as it is."""
    counted = _counted(procedure.steps[state.step])
    known = state.reminders or [ReminderState()] * len(counted)
    return [
        each if each.sent_at else ReminderState(due_at=_due_at(name, days, state, calendar))
        for each, (name, days) in zip(known, counted, strict=True)
    ]


def _counted(step: Step) -> list[tuple[str, int]]:
    """From the last day of which period each reminder of a step counts, and how many working days: negative, before."""
    if isinstance(step, WaitStep):
        return [(step.period, -reminder.before) for reminder in step.remind]
    if isinstance(step, TaskStep):
        return [(reminder.period, reminder.after or -(reminder.before or 0)) for reminder in step.remind]
    return []


def _due_at(name: str, days: int, state: CaseState, calendar: Calendar) -> datetime | None:
    """The first instant of the reminder's day; None while its period stands still, has ended or never began.

    None, too, where the step was entered on that day or later: whoever is asked only now is not reminded of it.
    """
    period = state.periods.get(name)
    if period is None or period.suspended_on is not None:
        return None
    if period.ended and not (period.expired and days > 0):
        return None
    day = periods.working_day(period.due_on, days, calendar)
    return calendar.start_of(day) if day > (state.entered_on or date.min) else None


def due(state: CaseState, at: datetime) -> int | None:
    """The place in the file of the reminder that goes out next, of those whose day has come by `at`; None: none has."""
    return min(((due_at, place) for due_at, place in _waiting(state) if due_at <= at), default=(at, None))[1]


def sent(state: CaseState, place: int, at: datetime) -> list[ReminderState]:
    """The state's reminders once that one has gone out."""
    return [
        each.model_copy(update={"sent_at": at}) if index == place else each
        for index, each in enumerate(state.reminders)
    ]


def wake_at(state: CaseState) -> datetime | None:
    """The next instant at which there is something to do: a running period is over, or a reminder goes out."""
    over = periods.next_end(state.periods.values())
    return min([*([over] if over else []), *(due_at for due_at, _ in _waiting(state))], default=None)


def _waiting(state: CaseState) -> list[tuple[datetime, int]]:
    return [(each.due_at, place) for place, each in enumerate(state.reminders) if each.due_at and each.sent_at is None]
