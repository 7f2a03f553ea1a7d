"""What a procedure asks and weighs: form, pieces, facts, rules, outcomes, appeal, retention."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from diwan.domain.case import Result
from diwan.domain.data import DataClass
from diwan.domain.text import Localized

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Guard = Annotated[str, StringConstraints(min_length=1, max_length=2000, strip_whitespace=True)]


class Declared(BaseModel):
    """Base of everything read from a procedure file: nothing unknown is let through, nothing changes later."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ValueType(StrEnum):
    """Types of facts; a guard sees a date as a CEL timestamp, compared with `date('2023-01-01')`."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    DATE = "date"


class FieldType(StrEnum):
    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    DATE = "date"
    CHOICE = "choice"


class FormField(Declared):
    """One question of the form. `pattern` is RE2 and searched for: anchor it. `minimum` and `maximum` are inclusive."""

    type: FieldType
    label: Localized
    hint: Localized | None = None
    required: bool = True
    personal: bool = False
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    max_length: Annotated[int, Field(ge=1, le=4000)] = 200
    minimum: int | None = None
    maximum: int | None = None
    choices: dict[Name, Localized] = Field(default_factory=dict[str, Localized])


class Piece(Declared):
    """A supporting document. Which facts are read from it stands with the facts."""

    label: Localized
    hint: Localized | None = None
    required: bool = True


class Sources(Declared):
    """Where a fact may come from: a form field, pieces (in order of preference), a registry tool."""

    form: Name | None = None
    pieces: list[Name] = Field(default_factory=list[str])
    registry: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$")] | None = None

    @property
    def provable(self) -> bool:
        """Whether something beside the applicant's word can show it."""
        return bool(self.pieces or self.registry)


class FactDeclaration(Declared):
    """A value that rules look at. `description` tells an agent, and a clerk, what exactly is meant.

    `must_agree`: what the applicant declares and what a document or register says have to be the same; where they
    are not, a person decides. Without it the document or register counts over the declaration. `currency`: an
    integer that is an amount in the procedure's currency, and is shown as one.
    """

    type: ValueType
    label: Localized
    description: Localized
    source: Sources
    must_agree: bool = False
    personal: bool = False
    currency: bool = False


class Ground(Declared):
    """Why, in fact and in law. `{fact}` in `ground` stands for the fact's value."""

    ground: Localized
    legal_basis: Localized


class Rule(Ground):
    """`when` is what the law demands; `ground` is the reason given where it does not hold; order is the file's."""

    label: Localized
    when: Guard
    otherwise: Literal[Result.REFUSED, Result.INADMISSIBLE]


class Outcome(Ground):
    """Tried in the file's order once every rule holds; the last has no `when`. `amount` in whole currency units."""

    label: Localized
    when: Guard | None = None
    result: Literal[Result.GRANTED, Result.PARTLY_GRANTED, Result.CONDITIONAL, Result.REFUSED]
    amount: Annotated[int, Field(ge=0)] | None = None


class StillMissing(Ground):
    """What becomes of an application whose pieces were asked for once and did not come."""

    result: Literal[Result.REFUSED, Result.INADMISSIBLE, Result.LAPSED]


class AppealWay(Declared):
    """One way to contest: before whom, within how many days of the notification, in which words."""

    to: Localized
    days: Annotated[int, Field(ge=1, le=3650)]
    text: Localized


class Appeal(Declared):
    administrative: AppealWay
    court: AppealWay


class Keep(Declared):
    """For how long a class of data is kept, from when, and by which text. `after: notification`: from the day on which
    the last letter was received, where that is later than the closing."""

    length: Annotated[int, Field(ge=1, le=36_500)]
    unit: Literal["days", "months", "years"] = "years"
    after: Literal["closing", "notification"] = "closing"
    legal_basis: Localized | None = None


class Retention(Declared):
    """Until the keys of each class may be destroyed (docs/erasure.md): a person approves it, no date does it."""

    decision: Keep
    evidence: Keep
    exchange: Keep


class RetentionYears(Declared):
    """The short form of `Retention`: years after closing, and no text that says so."""

    decision: Annotated[int, Field(ge=1, le=100)]
    evidence: Annotated[int, Field(ge=1, le=100)]
    exchange: Annotated[int, Field(ge=1, le=100)]


class ModelUse(Declared):
    """What may read the dossiers. `golden_set` (docs/procedures.md) lets another model than the first serve.

    It is the digest of the dossiers that such a model must have passed; without it only the first serves.
    """

    data_class: DataClass = DataClass.PERSONAL
    golden_set: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
