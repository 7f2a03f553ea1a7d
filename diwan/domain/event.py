"""Events: what comes in from outside, and a clerk's act, in one inbox per case."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from diwan.domain.party import Party
from diwan.domain.text import Language

APPLICATION_SUBMITTED = "diwan.application.submitted"
APPLICATION_WITHDRAWN = "diwan.application.withdrawn"
PIECES_SUPPLIED = "diwan.pieces.supplied"
NOTIFICATION_RECEIVED = "diwan.notification.received"

# A person's act on a task is an event like any other: diwan.task.<outcome>.
TASK_COMPLETED = "diwan.task.completed"

OPENING_TYPES = frozenset({APPLICATION_SUBMITTED})
FOLLOW_UP_TYPES = frozenset({APPLICATION_WITHDRAWN, PIECES_SUPPLIED, NOTIFICATION_RECEIVED})


class DocumentRef(BaseModel):
    """A document an event brings: either `part` (multipart) or `ref` (uploaded before), never an URL to fetch."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=255)
    piece: str = Field(default="", max_length=80, description="what the sender says it is; may be empty or wrong")
    part: str = Field(default="", max_length=255)
    ref: str = Field(default="", max_length=80)


class Application(BaseModel):
    """Data of an opening event. `answers` is checked against the procedure's form."""

    model_config = ConfigDict(extra="forbid")

    procedure: str = Field(min_length=1, max_length=80)
    reference: str = Field(min_length=1, max_length=120, description="unique per tenant and source")
    language: Language = Language.FR
    parties: list[Party] = Field(min_length=1, max_length=30)
    answers: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    documents: list[DocumentRef] = Field(default_factory=list[DocumentRef], max_length=50)


class FollowUp(BaseModel):
    """Data of a follow-up event; its case is named by CloudEvents `subject` (case id or number)."""

    model_config = ConfigDict(extra="forbid")

    note: str = Field(default="", max_length=4000)
    documents: list[DocumentRef] = Field(default_factory=list[DocumentRef], max_length=50)
    letter: str = Field(default="", max_length=80, description="for diwan.notification.received")
    proof: str = Field(default="", max_length=400, description="for diwan.notification.received")


class Envelope(BaseModel):
    """CloudEvents 1.0 context attributes that are kept. `source` is bound to the sender's credential."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    source: str
    id: str
    type: str
    subject: str = ""
    time: datetime | None = None
    traceparent: str = ""
