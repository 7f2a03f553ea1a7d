"""The way of a case: steps, transitions between them, legal periods and what starts or stops them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from diwan.domain.actor import Role
from diwan.domain.case import Result, StepKind
from diwan.domain.task import TaskKind
from diwan.domain.text import Localized
from diwan.procedures.parts import Declared, Guard, Name

EventType = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$", max_length=120)]

DONE = "done"
FAILED = "failed"  # an agent could not finish; people go on by hand
APPROVED = "approved"
EDITED = "edited"
REJECTED = "rejected"
RETURNED = "returned"
EXPIRED = "expired"

# The outcomes a step of each kind can end with; a wait also ends with the type of an event it awaits.
OUTCOMES: dict[StepKind, tuple[str, ...]] = {
    StepKind.ACT: (DONE,),
    StepKind.AGENT: (DONE, FAILED),
    StepKind.TASK: (APPROVED, EDITED, REJECTED, RETURNED),
    StepKind.WAIT: (EXPIRED,),
    StepKind.END: (),
}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Strings = Annotated[list[Annotated[str, StringConstraints(min_length=1)]], BeforeValidator(_as_list)]


class Transition(Declared):
    """Taken if the outcome is one of `on` (any, where empty) and `when` holds. Order is the file's.

    `result` is the case's result from then on: a way into an end step names it, unless it leaves the decision.
    """

    to: Name
    on: Strings = Field(default_factory=list[str])
    when: Guard | None = None
    result: Result | None = None


class GlobalTransition(Declared):
    """Taken when `event` arrives `at` one of these steps (any, where empty) and not at one of `not_at`."""

    event: EventType
    to: Name
    at: list[Name] = Field(default_factory=list[str])
    not_at: list[Name] = Field(default_factory=list[str])
    result: Result | None = None

    def listens_at(self, step: str) -> bool:
        """Whether the event takes a case away from this step."""
        return (not self.at or step in self.at) and step not in self.not_at


class LetterKind(StrEnum):
    RECEIPT = "receipt"
    REQUEST_FOR_PIECES = "request_for_pieces"
    DECISION = "decision"
    WITHDRAWAL = "withdrawal"


class _Step(Declared):
    label: Localized


class ActStep(_Step):
    """The service issues a letter; with `decision` it also notifies and announces the signed decision."""

    kind: Literal[StepKind.ACT]
    letter: LetterKind
    next: list[Transition] = Field(min_length=1)


WorkingDays = Annotated[int, Field(ge=1, le=365)]


class ApplicantReminder(Declared):
    """A letter to the applicant, so many working days before the last day of the period that the step awaits."""

    before: WorkingDays


class StaffReminder(Declared):
    """A notice to those who hold one of `to`, so many working days before or after the last day of `period`.

    Without `to` it is for the roles that the task is for.
    """

    period: Name
    before: WorkingDays | None = None
    after: WorkingDays | None = None
    to: list[Role] = Field(default_factory=list[Role])

    @model_validator(mode="after")
    def _exactly_one(self) -> StaffReminder:
        if (self.before is None) == (self.after is None):
            raise ValueError("give exactly one of before, after")
        return self


class AgentStep(_Step):
    kind: Literal[StepKind.AGENT]
    agent: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    next: list[Transition] = Field(min_length=1)


class TaskStep(_Step):
    """A person's act, by someone who holds one of `roles`."""

    kind: Literal[StepKind.TASK]
    task: Literal[TaskKind.REVIEW, TaskKind.REQUEST_PIECES, TaskKind.SIGN]
    roles: list[Role] = Field(min_length=1)
    remind: list[StaffReminder] = Field(default_factory=list[StaffReminder], max_length=20)
    next: list[Transition] = Field(min_length=1)


class WaitStep(_Step):
    """Left by one of `events`, or with the outcome `expired` when `period` falls due."""

    kind: Literal[StepKind.WAIT]
    events: list[EventType] = Field(min_length=1)
    period: Name
    remind: list[ApplicantReminder] = Field(default_factory=list[ApplicantReminder], max_length=20)
    next: list[Transition] = Field(min_length=1)


class EndStep(_Step):
    kind: Literal[StepKind.END]

    @property
    def next(self) -> list[Transition]:
        return []


Step = Annotated[ActStep | AgentStep | TaskStep | WaitStep | EndStep, Field(discriminator="kind")]


def outcomes_of(step: ActStep | AgentStep | TaskStep | WaitStep | EndStep) -> tuple[str, ...]:
    """Every outcome that `step` can end with."""
    own = OUTCOMES[step.kind]
    return (*step.events, *own) if isinstance(step, WaitStep) else own


class Trigger(Declared):
    """A moment in the life of a case: entering a step, leaving it, or an event being taken. Exactly one."""

    enter: Name | None = None
    leave: Name | None = None
    event: EventType | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Trigger:
        if sum(moment is not None for moment in (self.enter, self.leave, self.event)) != 1:
            raise ValueError("give exactly one of enter, leave, event")
        return self


class Unit(StrEnum):
    DAYS = "days"
    WORKING_DAYS = "working_days"
    MONTHS = "months"


class Counting(StrEnum):
    DAY_AFTER = "day_after"  # the day it starts on is not counted
    SAME_DAY = "same_day"  # the day it starts on is the first


class Roll(StrEnum):
    NONE = "none"
    NEXT_WORKING_DAY = "next_working_day"  # a last day on which the office is closed moves on


class Nature(StrEnum):
    TARGET = "target"  # a promise of good service: missing it is shown, nothing else
    FATAL = "fatal"  # the law attaches an effect to its end


class Silence(Declared):
    """What it means that nothing happened within the period, in words for the applicant."""

    text: Localized
    result: Literal[Result.IMPLIED_GRANT, Result.IMPLIED_REFUSAL, Result.LAPSED] | None = None


class Period(Declared):
    """A legal or promised period. It ends with its last day, in the calendar's time zone.

    Entering a wait step starts the period that it awaits; any other needs `start`. `on_expiry` names the step to go
    to; an awaited period needs none.
    """

    label: Localized
    legal_basis: Localized
    nature: Nature
    unit: Unit
    length: Annotated[int, Field(ge=1, le=3650)]
    counting: Counting = Counting.DAY_AFTER
    roll: Roll = Roll.NEXT_WORKING_DAY
    start: list[Trigger] = Field(default_factory=list[Trigger])
    suspend: list[Trigger] = Field(default_factory=list[Trigger])
    resume: list[Trigger] = Field(default_factory=list[Trigger])
    end: list[Trigger] = Field(default_factory=list[Trigger])
    silence: Silence | None = None
    on_expiry: Name | None = None


class Weekday(StrEnum):
    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


class CalendarDeclaration(Declared):
    """Working days of the office: its weekend, and the public holidays of `country` (ISO 3166-1 alpha-2)."""

    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    time_zone: str
    weekend: list[Weekday] = Field(max_length=6)
