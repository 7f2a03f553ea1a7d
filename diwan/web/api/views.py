"""What the service answers: the shapes of JSON bodies. Addresses are paths of this service."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from diwan.domain.case import CaseStatus, PeriodState, Result, StepKind
from diwan.domain.clock import Finding
from diwan.domain.decision import Proposal
from diwan.domain.erasure import LONGEST_BASIS, ErasureStatus, Ground, ScopeRule
from diwan.domain.facts import Fact
from diwan.domain.party import Party
from diwan.domain.ports import RetentionClass
from diwan.domain.task import ActInput, TaskKind, TaskStatus
from diwan.ledger.note import MAX_BYTES

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """`next` is the cursor of the following page; null when this is the last."""

    items: list[Item]
    next: str | None = None


class ReceivedDocument(BaseModel):
    """A document as it was taken up. `reason` and `remedy` say why one is in quarantine and what to send instead.

    `index` is its place in the event's `data.documents`, from 0.
    """

    index: int
    document: str
    status: str
    reason: str = ""
    remedy: str = ""


class AcceptedEvent(BaseModel):
    """The event is on record and takes effect exactly once. `case` is null when a clerk has to find its case."""

    status: Literal[202] = 202
    case: str | None
    number: str | None
    inbox_seq: int | None
    address: str | None = Field(description="of the case")
    receipt: str | None = Field(description="address of the receipt, which is made within seconds")
    documents: list[ReceivedDocument] = Field(default_factory=list[ReceivedDocument])


class ClockView(BaseModel):
    """Whether legal dates may fall. Where they stand still, `since` is what a confirmation names.

    `now` is the service's time; `why` is `forward`, `backward`, `behind` or `gap`; `off_s` how far the clock was from
    where it was expected; `stands_at` the last trusted instant; `cases` those in which something was stamped meanwhile.
    """

    now: datetime
    frozen: bool
    since: datetime | None
    stands_at: datetime | None
    why: str
    off_s: int
    cases: list[str]


class ClockBody(BaseModel):
    """`since` is the one that was shown; `finding`: the clock is `right` now, or was `corrected` to where it was."""

    model_config = ConfigDict(extra="forbid")

    since: AwareDatetime
    finding: Finding
    reason: Annotated[str, Field(min_length=1, max_length=2_000)]


class ReasonBody(BaseModel):
    """Why; it may name people, and is sealed."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=2_000)]


class AskErasureBody(ReasonBody):
    """`legal_basis` names a text of law and no person: it stands in the clear, as on every entry. Without `classes`:
    all of them."""

    classes: Annotated[list[RetentionClass], Field(min_length=1, max_length=3)] = Field(
        default_factory=lambda: list(RetentionClass)
    )
    ground: Literal[Ground.REQUEST, Ground.UNLAWFUL, Ground.ORDER]
    legal_basis: Annotated[str, Field(min_length=1, max_length=LONGEST_BASIS)]


class ErasureView(BaseModel):
    """Data of a case that are to be erased, or are. `asked_by`: `retention` where the procedure's retention is over, by
    itself; `kept_until` is its last day then. `decided_by` approved or declined it."""

    id: str
    case: str
    number: str
    classes: list[RetentionClass]
    ground: Ground
    legal_basis: str
    kept_until: date | None
    status: ErasureStatus
    asked_by: str
    asked_at: datetime
    decided_by: str
    decided_at: datetime | None
    started_at: datetime | None
    done_at: datetime | None


class ScopeErasureView(BaseModel):
    """Keys of what belongs to no case, by their scope: `kept_from` and `kept_until` are the first and last day of the
    rule's period; `started_at` and `done_at` stand on the ledger's chain of that name."""

    scope: str
    rule: ScopeRule
    kept_from: date
    kept_until: date | None
    started_at: datetime | None
    done_at: datetime | None


class HoldView(BaseModel):
    """A legal hold; while one of a case is not lifted, nothing of it is erased."""

    id: str
    placed_by: str
    placed_at: datetime
    lifted_by: str
    lifted_at: datetime | None


class UploadedDocument(BaseModel):
    """A document uploaded ahead; `ref` names it in a later event of the same sender."""

    ref: str
    status: str
    media_type: str
    pages: int
    reason: str = ""
    remedy: str = ""


class CaseSummary(BaseModel):
    """Where a case stands. Nothing here is personal data but `reference`, which is the sender's own."""

    id: str
    number: str
    address: str
    source: str
    reference: str
    procedure: str
    procedure_version: str
    status: CaseStatus
    step: str
    visit: int
    kind: StepKind
    result: Result | None
    language: str
    flags: list[str]
    wake_at: datetime | None
    blocked: str
    version: int
    opened_at: datetime
    closed_at: datetime | None


class DocumentView(BaseModel):
    id: str
    address: str
    name: str
    piece: str
    media_type: str
    size: int
    pages: int
    status: str
    reason: str
    remedy: str
    flags: list[str]
    received_at: datetime


class LetterView(BaseModel):
    """`kind`: receipt, request_for_pieces, reminder, decision, withdrawal; `address` gives the PDF, `sheet` the page by
    which anybody can check it, empty where it has none."""

    id: str
    address: str
    kind: str
    number: str
    language: str
    made_at: datetime
    sheet: str = ""
    notified: str = Field(default="", description="channel and state of its notification, e.g. `post:sent`")


class TaskSummary(BaseModel):
    id: str
    address: str
    case: str | None
    number: str | None
    kind: TaskKind
    step: str
    status: TaskStatus
    assignee: str
    proposer: str
    roles: list[str]
    outcome: str
    created_at: datetime
    due_at: datetime | None
    completed_at: datetime | None
    reminded_at: datetime | None = Field(description="when those who have it were last reminded")


class ActBody(ActInput):
    """As `ActInput`; a field that is not known is a mistake, not nothing."""

    model_config = ConfigDict(extra="forbid")


class BundleBody(BaseModel):
    """What a bundle is made against: the auditor's own, who may leave both out."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    policy: str = Field(default="", max_length=MAX_BYTES, description="whom the auditor trusts (c2sp.org/tlog-policy)")
    since: list[Annotated[str, Field(max_length=MAX_BYTES)]] = Field(
        default=[], max_length=20, description="checkpoints that the auditor kept, at most one of a log"
    )


class TaskAfterAct(TaskSummary):
    """A task as an act left it; `digest` is that of what it shows now."""

    digest: str


class TaskView(TaskSummary):
    """`shown` is what an act is bound to by `digest`: send the digest back with the act."""

    digest: str
    shown: dict[str, JsonValue]


class DecisionView(BaseModel):
    result: str
    signed_by: str
    signed_at: datetime
    delegation: str
    proposal: Proposal


class CaseView(CaseSummary):
    """A case in full, for those who work on it; a sender gets no more than what it sent and what was sent out.

    `erased`: classes of its data whose keys are destroyed; what they sealed is missing here, and stays so.
    """

    periods: dict[str, PeriodState]
    parties: list[Party] = Field(default_factory=list[Party])
    documents: list[DocumentView] = Field(default_factory=list[DocumentView])
    facts: list[Fact] = Field(default_factory=list[Fact])
    proposal: Proposal | None = None
    decision: DecisionView | None = None
    letters: list[LetterView] = Field(default_factory=list[LetterView])
    tasks: list[TaskSummary] = Field(default_factory=list[TaskSummary])
    erased: list[RetentionClass] = Field(default_factory=list[RetentionClass])
    erasures: list[ErasureView] = Field(default_factory=list[ErasureView])
    holds: list[HoldView] = Field(default_factory=list[HoldView])


class ReceiptView(BaseModel):
    """The numbered receipt as it was sent: `content` is what its PDF (`address`) was set from."""

    case: str
    number: str
    letter: str
    address: str
    language: str
    made_at: datetime
    content: dict[str, JsonValue]


class EventView(BaseModel):
    """An event of a case's inbox; `consumed_at` is when it took effect."""

    inbox_seq: int
    source: str
    id: str
    type: str
    accepted_at: datetime
    consumed_at: datetime | None


class StoryLine(BaseModel):
    """One ledger entry of the case, as its header has it."""

    seq: int
    at: datetime
    kind: str
    actor_kind: str
    actor: str
    step: str
    visit: int
    detail: dict[str, str | int | bool]
    hash: str


class ProcedureSummary(BaseModel):
    name: str
    version: str
    hash: str
    published_at: datetime
    published_by: str


class ProcedureView(ProcedureSummary):
    body: str = Field(description="the YAML as published")
