"""The transition function: from where a case stands, and what happened, to where it goes next.

Pure and total: for a procedure that loaded, every outcome of every step has exactly one move, and the same input has
the same move. Given states are never changed; a move carries a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from diwan.domain.case import CaseState, CaseStatus, PeriodState, Result, StepKind
from diwan.domain.errors import Conflict, InvalidInput, NeedsPerson
from diwan.domain.event import APPLICATION_SUBMITTED
from diwan.domain.facts import FactValue
from diwan.procedures import periods, reminders, urgency
from diwan.procedures.guards import compile_guard
from diwan.procedures.periods import Calendar
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import (
    EXPIRED,
    ActStep,
    GlobalTransition,
    LetterKind,
    Nature,
    Period,
    Step,
    Transition,
    Trigger,
    WaitStep,
    outcomes_of,
)
from diwan.procedures.ways import STATE, VIEW, is_request

MAX_REQUESTS_FOR_PIECES = 1

Moment = Literal["enter", "leave", "event"]


@dataclass(frozen=True)
class Move:
    """Where the case stands now. `due_at`: when the next running period is over; `wake_at`: that, or a reminder before.

    `cancel_tasks`: an event or a date took the case away from where people were working on it.
    """

    state: CaseState
    kind: StepKind
    status: CaseStatus
    due_at: datetime | None
    wake_at: datetime | None
    cancel_tasks: bool


def open_case(procedure: Procedure, now: datetime, calendar: Calendar) -> Move:
    """The first move: the application was filed at `now`."""
    change = _Change(procedure, CaseState(), now, calendar)
    change.take(APPLICATION_SUBMITTED)
    change.enter(procedure.start)
    return change.move(cancel_tasks=False)


def after_step(
    procedure: Procedure,
    state: CaseState,
    outcome: str,
    view: Mapping[str, object],
    now: datetime,
    calendar: Calendar,
) -> Move:
    """The move after the current step ended with `outcome`.

    `view` is what guards see: `assess.view_of`'s values; after the decision its `result` is the case's result.
    Raises `Conflict` for a closed case, `InvalidInput` for an outcome that this step does not have or a view that
    lacks something, `NeedsPerson` where a guard cannot be evaluated.
    """
    step = _open_step(procedure, state)
    if outcome not in outcomes_of(step):
        raise InvalidInput(
            "step.outcome_unknown",
            f"Step {state.step} cannot end with `{outcome}`.",
            f"It ends with one of: {', '.join(outcomes_of(step))}.",
        )
    transition = _choose(procedure, state, step, outcome, view)
    change = _Change(procedure, state, now, calendar)
    if isinstance(step, ActStep) and step.letter is LetterKind.DECISION:
        change.state.result = _decided(view)
    change.go(transition, completed=True)
    return change.move(cancel_tasks=False)


def on_event(procedure: Procedure, state: CaseState, event_type: str, now: datetime, calendar: Calendar) -> Move | None:
    """The move that an event makes; None where nothing awaits it (it is consumed all the same)."""
    step = procedure.steps.get(state.step)
    if step is None or step.kind is StepKind.END:
        return None
    change = _Change(procedure, state, now, calendar)
    change.take(event_type)
    transition: Transition | GlobalTransition | None = None
    awaited = isinstance(step, WaitStep) and event_type in step.events
    if awaited:
        transition = _choose(procedure, state, step, event_type, {})
    else:
        transition = next((each for each in procedure.on_event if _applies(each, event_type, state.step)), None)
    if transition is not None:
        change.go(transition, completed=awaited)
    elif change.state == state:
        return None
    return change.move(cancel_tasks=transition is not None)


def on_time(procedure: Procedure, state: CaseState, now: datetime, calendar: Calendar) -> Move | None:
    """The move that a date makes: the earliest running period whose last day is over by `now`. None where none is.

    A target is noted as `late.<period>`; a fatal period leads on, or is noted as `expired.<period>` where the case
    is already where it leads. Call again while `due_at` has passed.
    """
    step = procedure.steps.get(state.step)
    over = [(each.due_at, name) for name, each in state.periods.items() if periods.running(each) and each.due_at <= now]
    if step is None or step.kind is StepKind.END or not over:
        return None
    name = min(over, key=lambda pair: pair[0])[1]
    change = _Change(procedure, state, now, calendar)
    change.state.periods[name] = periods.expire(state.periods[name])
    transition = _after_expiry(procedure, state, step, name)
    if transition is None:
        change.flag(("late." if _nature(procedure, name) is Nature.TARGET else "expired.") + name)
    else:
        change.go(transition, completed=isinstance(step, WaitStep) and step.period == name)
    return change.move(cancel_tasks=transition is not None)


# --- choosing ------------------------------------------------------------------------------------------------------


def _open_step(procedure: Procedure, state: CaseState) -> Step:
    step = procedure.steps.get(state.step)
    if step is None:
        raise InvalidInput("step.unknown", f"Procedure {procedure.name} {procedure.version} has no such step.")
    if step.kind is StepKind.END:
        raise Conflict("case.closed", "The case is closed.", "Nothing more can be done in it.")
    return step


def _choose(procedure: Procedure, state: CaseState, step: Step, outcome: str, view: Mapping[str, object]) -> Transition:
    types = STATE if isinstance(step, WaitStep) else VIEW
    for transition in step.next:
        if transition.on and outcome not in transition.on:
            continue
        if is_request(procedure.steps[transition.to]) and state.pieces_requested >= MAX_REQUESTS_FOR_PIECES:
            continue  # pieces may be asked for once, whatever the file says
        if transition.when is None:
            return transition
        guard = compile_guard(transition.when, types)
        answer = guard.holds(_seen(guard.uses, state, view))
        if answer is None:
            raise NeedsPerson(
                "procedure.guard_failed",
                f"A condition of step {state.step} cannot be evaluated.",
                "Correct the procedure and publish it anew.",
            )
        if answer:
            return transition
    raise NeedsPerson("procedure.no_way", f"Step {state.step} has no way on.", "Correct the procedure.")


def _seen(uses: frozenset[str], state: CaseState, view: Mapping[str, object]) -> dict[str, FactValue]:
    own: dict[str, FactValue] = {"pieces_requested": state.pieces_requested, "visit": state.visit}
    seen: dict[str, FactValue] = {}
    for name in uses:
        value = own[name] if name in own else view.get(name)
        if not isinstance(value, bool | int | str):
            raise InvalidInput("step.view_incomplete", f"The view lacks `{name}`, which a condition needs.")
        seen[name] = value
    return seen


def _decided(view: Mapping[str, object]) -> Result:
    try:
        return Result(str(view.get("result")))
    except ValueError:
        raise InvalidInput("step.result_missing", "A decision was issued without its result in the view.") from None


def _applies(transition: GlobalTransition, event_type: str, step: str) -> bool:
    return transition.event == event_type and transition.listens_at(step)


def _nature(procedure: Procedure, name: str) -> Nature:
    period = procedure.periods.get(name)
    return period.nature if period else Nature.TARGET


def _after_expiry(procedure: Procedure, state: CaseState, step: Step, name: str) -> Transition | None:
    period = procedure.periods.get(name)
    if isinstance(step, WaitStep) and step.period == name:
        return _choose(procedure, state, step, EXPIRED, {})
    if period is None or period.on_expiry is None or period.on_expiry == state.step:
        return None
    return Transition(to=period.on_expiry, result=period.silence.result if period.silence else None)


# --- carrying out --------------------------------------------------------------------------------------------------


class _Change:
    """One change of one case's state, in the order of the law: leave, then enter; end, resume, suspend, start."""

    def __init__(self, procedure: Procedure, state: CaseState, now: datetime, calendar: Calendar) -> None:
        self._procedure = procedure
        self._now = now
        self._calendar = calendar
        self.state = state.model_copy(deep=True)

    def go(self, transition: Transition | GlobalTransition, *, completed: bool) -> None:
        """Take the transition; `completed`: the step came to its own end, nothing broke into it."""
        if transition.result is not None:
            self.state.result = transition.result
        if completed and is_request(self._procedure.steps[self.state.step]):
            self.state.pieces_requested += 1
        self._trigger("leave", self.state.step, completed=completed)
        self.enter(transition.to)

    def enter(self, step: str) -> None:
        state = self.state
        state.step = step
        state.visit = state.visits[step] = state.visits.get(step, 0) + 1
        state.entered_on, state.reminders = self._calendar.day_of(self._now), []
        self._trigger("enter", step)
        entered = self._procedure.steps[step]
        if isinstance(entered, WaitStep):
            self._start(entered.period, self._procedure.periods[entered.period])
        if entered.kind is StepKind.END:
            state.periods = {name: periods.end(each) for name, each in state.periods.items()}

    def flag(self, name: str) -> None:
        if name not in self.state.flags:
            self.state.flags.append(name)

    def take(self, event: str) -> None:
        self._trigger("event", event)

    def _trigger(self, moment: Moment, name: str, *, completed: bool = True) -> None:
        """What was broken off was not done: it ends and resumes periods, but starts and suspends none."""

        def having(triggers: Callable[[Period], list[Trigger]]) -> list[tuple[str, Period]]:
            return [
                (each, period)
                for each, period in self._procedure.periods.items()
                if any(getattr(trigger, moment) == name for trigger in triggers(period))
            ]

        for each, _ in having(lambda period: period.end):
            self._change(each, periods.end)
        for each, period in having(lambda period: period.resume):
            self._change(each, lambda state, of=period: periods.resume(of, state, self._now, self._calendar))
        if not completed:
            return
        for each, _ in having(lambda period: period.suspend):
            self._change(each, lambda state: periods.suspend(state, self._now, self._calendar))
        for each, period in having(lambda period: period.start):
            self._start(each, period)

    def _change(self, name: str, change: Callable[[PeriodState], PeriodState]) -> None:
        if name in self.state.periods:
            self.state.periods[name] = change(self.state.periods[name])

    def _start(self, name: str, period: Period) -> None:
        """Begin a period that is not under way; one that ended begins anew."""
        current = self.state.periods.get(name)
        if current is None or current.ended:
            self.state.periods[name] = periods.start(period, self._now, self._calendar)

    def move(self, *, cancel_tasks: bool) -> Move:
        kind = self._procedure.steps[self.state.step].kind
        self.state.reminders = reminders.scheduled(self._procedure, self.state, self._calendar)
        self.state.rises = urgency.rises(self._procedure, self.state, self._calendar)
        return Move(
            state=self.state,
            kind=kind,
            status=_status(kind, self.state),
            due_at=periods.next_end(self.state.periods.values()),
            wake_at=reminders.wake_at(self.state),
            cancel_tasks=cancel_tasks,
        )


def _status(kind: StepKind, state: CaseState) -> CaseStatus:
    if kind is StepKind.END:
        return CaseStatus.CLOSED
    still = any(each.suspended_on and not each.ended for each in state.periods.values())
    return CaseStatus.SUSPENDED if still else CaseStatus.OPEN
