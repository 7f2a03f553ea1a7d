"""A case: where it stands and what comes next. Nothing here is personal data."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class CaseStatus(StrEnum):
    OPEN = "open"
    SUSPENDED = "suspended"  # waiting for the applicant; the legal period is stopped
    CLOSED = "closed"


class Result(StrEnum):
    """Results of a case, as in the glossary."""

    GRANTED = "granted"
    PARTLY_GRANTED = "partly_granted"
    CONDITIONAL = "conditional"
    REFUSED = "refused"
    INADMISSIBLE = "inadmissible"
    IMPLIED_GRANT = "implied_grant"
    IMPLIED_REFUSAL = "implied_refusal"
    WITHDRAWN = "withdrawn"
    LAPSED = "lapsed"
    TRANSFERRED = "transferred"
    CLOSED_ON_DEATH = "closed_on_death"
    NO_FURTHER_ACTION = "no_further_action"


class StepKind(StrEnum):
    """What the workflow does with a step."""

    ACT = "act"  # one activity: a letter, a decision, a closing
    AGENT = "agent"  # a child workflow: an agent run
    TASK = "task"  # a person's act is awaited
    WAIT = "wait"  # an event or a date is awaited
    END = "end"


def _unsaid(value: object) -> bool:
    """Keeps a field that came later out of the JSON of states without it: the ledger has committed to that JSON."""
    return not value


def _unknown(value: object) -> bool:
    """As `_unsaid`, for a field whose empty value says something."""
    return value is None


class PeriodState(BaseModel):
    """A legal period of a case while it runs. Dates are the tenant's calendar days; `due_at` is an instant.

    `suspended_on` is set while the period is stopped; `suspended_days` counts the days it stood still. `expired`: it
    ended because its last day was over.
    """

    started_on: date
    due_on: date
    due_at: datetime
    suspended_on: date | None = None
    suspended_days: int = 0
    ended: bool = False
    expired: bool = Field(default=False, exclude_if=_unsaid)


class ReminderState(BaseModel):
    """A reminder of the step at which a case stands: when it is to go out (None: not as things stand), when it went."""

    due_at: datetime | None = None
    sent_at: datetime | None = None


class CaseState(BaseModel):
    """Stored as JSON on the case's row; changed only under its lock. No personal data, ever.

    `visits` counts how often each step was entered, `entered_on` is the office's day of this visit, `reminders` are
    those of its step, in the order of the file; `rises` is when it becomes more urgent (procedures/urgency.py), None
    where that was never written down; `flags` are machine names such as `instruction_suspected` or
    `agent_failed`.
    """

    step: str = ""
    visit: int = 0
    visits: dict[str, int] = Field(default_factory=dict[str, int])
    flags: list[str] = Field(default_factory=list[str])
    pieces_requested: int = 0
    periods: dict[str, PeriodState] = Field(default_factory=dict[str, PeriodState])
    result: Result | None = None
    return_to: str = ""
    entered_on: date | None = Field(default=None, exclude_if=_unsaid)
    reminders: list[ReminderState] = Field(default_factory=list[ReminderState], exclude_if=_unsaid)
    rises: list[datetime] | None = Field(default=None, exclude_if=_unknown)


class Plan(BaseModel):
    """What Postgres says comes next for a case; the workflow only carries it out.

    `cursor` is the last consumed inbox_seq; `wake_at` the next instant at which a date falls due; `priority` how urgent
    the case is, 1 before 5 (procedures/urgency.py).
    """

    model_config = ConfigDict(frozen=True)

    version: int
    cursor: int
    step: str
    visit: int
    kind: StepKind
    wake_at: datetime | None = None
    blocked: str = ""
    priority: int = 3


def step_key(case: str, step: str, visit: int, call: str = "") -> str:
    """Idempotency key `case + step + visit + call`: the same work always has the same key."""
    return "/".join((case, step, str(visit), call)) if call else "/".join((case, step, str(visit)))
