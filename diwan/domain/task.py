"""Human work items."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, Field, JsonValue

from diwan.domain.actor import Role


class TaskKind(StrEnum):
    REVIEW = "review"  # a clerk on a proposal for the decision
    REQUEST_PIECES = "request_pieces"  # a clerk on a proposed request for pieces
    SIGN = "sign"  # the competent authority on the decision
    LATE_EVENT = "late_event"  # an event reached a closed case
    STRAY_EVENT = "stray_event"  # an event matches no case


class TaskStatus(StrEnum):
    OPEN = "open"
    CLAIMED = "claimed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class TaskAct(StrEnum):
    """What a person does with a task (CLI verb and URL segment)."""

    CLAIM = "claim"
    RELEASE = "release"
    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"
    RETURN = "return"


def with_supervisor(roles: Sequence[Role]) -> list[Role]:
    """Who may act once a person has edited: four eyes need a second one, also in an office with one clerk."""
    return list(dict.fromkeys([*roles, Role.SUPERVISOR]))


class ActInput(BaseModel):
    """Body of an act. `digest` is that of what was shown; reasons are personal data (free text).

    `changes` of an edit: fact name → new value; `piece.<name>` → document id; `result`, `amount` override
    the assessment.
    """

    digest: str = ""
    reason: str = Field(default="", max_length=4000)
    changes: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
