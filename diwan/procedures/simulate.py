"""A case played through on paper: which steps it takes, when its dates fall, how it ends. Nothing is stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from diwan.domain.case import CaseStatus, Result, StepKind
from diwan.domain.decision import Assessment
from diwan.domain.errors import InvalidInput
from diwan.domain.event import PIECES_SUPPLIED
from diwan.domain.facts import Fact
from diwan.domain.ports import RetentionClass
from diwan.domain.task import TaskKind
from diwan.procedures.assess import assess, view_of
from diwan.procedures.flow import Move, after_step, on_event, on_time, open_case
from diwan.procedures.periods import Calendar
from diwan.procedures.retention import kept_until
from diwan.procedures.schema import Procedure
from diwan.procedures.steps import APPROVED, DONE, EXPIRED, Step, TaskStep, WaitStep, outcomes_of

MAX_STEPS = 100
_USUAL = {StepKind.ACT: DONE, StepKind.AGENT: DONE, StepKind.TASK: APPROVED}
_SUPPLIED = "supplied"  # stands for the document that the applicant would send


class SimulatedStep(BaseModel):
    """A step, when it was entered (office's day), how it ended (empty at the end), and what the rules said then.

    `reminders` are the days on which reminders would go out while the case is there; `kept_until`, at the end, the last
    day on which each class of its data is kept.
    """

    model_config = ConfigDict(frozen=True)

    step: str
    visit: int
    kind: StepKind
    status: CaseStatus
    on: date
    outcome: str
    due: dict[str, date]
    reminders: list[date]
    assessment: Assessment
    result: Result | None
    kept_until: dict[str, date] = Field(default_factory=dict[str, date])


def simulate(
    procedure: Procedure,
    facts: Sequence[Fact],
    pieces: Mapping[str, str],
    outcomes: Mapping[str, Sequence[str]],
    *,
    now: datetime,
    calendar: Calendar,
    unreadable: Collection[str] = (),
) -> list[SimulatedStep]:
    """Play a case from its opening at `now` to its end.

    `outcomes` maps a step to how it ends at its first, second … visit; further visits, and steps not named, end as
    usual: done, approved, or a wait's first event. A name that is an event of the procedure (`diwan.application.
    withdrawn`) breaks in, `expired` lets the awaited period run out. When pieces are supplied, all of them are.
    Raises `InvalidInput` for an outcome that cannot be, where something open would be approved, or where there is
    no end after 100 steps.
    """
    given = dict(pieces)
    move = open_case(procedure, now, calendar)
    story: list[SimulatedStep] = []
    while len(story) < MAX_STEPS:
        state = move.state
        assessment = assess(procedure, facts, given, unreadable, pieces_requested=state.pieces_requested)
        outcome = _outcome(procedure, move, outcomes)
        story.append(
            SimulatedStep(
                step=state.step,
                visit=state.visit,
                kind=move.kind,
                status=move.status,
                on=calendar.day_of(now),
                outcome=outcome,
                due={name: period.due_on for name, period in state.periods.items() if not period.ended},
                reminders=[calendar.day_of(each.due_at) for each in state.reminders if each.due_at],
                assessment=assessment,
                result=state.result,
                kept_until=_kept(procedure, calendar.day_of(now)) if move.kind is StepKind.END else {},
            )
        )
        if move.kind is StepKind.END:
            return story
        if outcome == PIECES_SUPPLIED:
            given |= {name: given.get(name) or _SUPPLIED for name in procedure.required_pieces}
        if outcome == EXPIRED and move.due_at is not None:
            now = max(now, move.due_at)
        move = _next(procedure, move, outcome, assessment, now, calendar)
        now += timedelta(minutes=1)
    raise InvalidInput(
        "simulation.endless", f"There is no end after {MAX_STEPS} steps.", "Give other outcomes, or mend the procedure."
    )


def _kept(procedure: Procedure, closed_on: date) -> dict[str, date]:
    return {each.value: kept_until(procedure.keep(each), closed_on) for each in RetentionClass}


def _outcome(procedure: Procedure, move: Move, outcomes: Mapping[str, Sequence[str]]) -> str:
    step = procedure.steps[move.state.step]
    named = outcomes.get(move.state.step, ())
    if move.kind is StepKind.END:
        return ""
    if move.state.visit <= len(named):
        return named[move.state.visit - 1]
    return step.events[0] if isinstance(step, WaitStep) else _USUAL[move.kind]


def _next(
    procedure: Procedure, move: Move, outcome: str, assessment: Assessment, now: datetime, calendar: Calendar
) -> Move:
    step = procedure.steps[move.state.step]
    if outcome == EXPIRED:
        moved = on_time(procedure, move.state, now, calendar)
    elif isinstance(step, WaitStep) or outcome not in outcomes_of(step):
        moved = on_event(procedure, move.state, outcome, now, calendar)
    else:
        _check_approval(step, outcome, assessment)
        return after_step(procedure, move.state, outcome, view_of(assessment), now, calendar)
    if moved is None:
        raise InvalidInput(
            "simulation.outcome",
            f"`{outcome}` does nothing at step {move.state.step}.",
            f"It can end with: {', '.join(outcomes_of(step))}.",
        )
    return moved


def _check_approval(step: Step, outcome: str, assessment: Assessment) -> None:
    """What is open cannot be approved, by a person in a simulation either."""
    decides = isinstance(step, TaskStep) and step.task in (TaskKind.REVIEW, TaskKind.SIGN)
    if decides and outcome == APPROVED and assessment.result is None:
        open_ = [*assessment.unknown, *(conflict.fact for conflict in assessment.conflicts), *assessment.missing_pieces]
        raise InvalidInput(
            "simulation.undetermined",
            "The rules cannot say how this case ends, so nobody can approve it.",
            f"Give what a person would establish: {', '.join(open_)}.",
        )
