"""What letters say, as values: everything that a letter states stands here, typed, before a word of it is set.

All strings are in the letter's language; the fixed sentences around them are in `templates/`. Values are personal
data as a whole: they are stored as ciphertext and never logged.
"""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from diwan.domain.case import Result
from diwan.domain.facts import FactValue, Provenance
from diwan.domain.text import Language

TEXT = 4000  # characters of one text; a letter is pages, not a book
MANY = 100
_ISO_DAY = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")


class _Value(BaseModel):
    # A validation error must not repeat a name or an address: errors end in logs.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, str_max_length=TEXT)


class Digits(StrEnum):
    """How numbers, dates and amounts are written; identifiers always keep the digits they were given."""

    WESTERN = "western"
    ARABIC_INDIC = "arabic_indic"


class Office(_Value):
    """Who writes. `name` may hold a ministry and a service, separated by ` — `; `contact` is one line a way."""

    name: str = Field(min_length=1)
    address: str = ""
    contact: str = ""


class Addressee(_Value):
    """`address` is one postal block, newline separated."""

    name: str = Field(min_length=1)
    address: str = ""
    identity_number: str = ""


class Remedy(_Value):
    """One way to contest: before whom, within how many days of the notification, in the procedure's own words."""

    to: str = Field(min_length=1)
    days: int = Field(ge=1)
    text: str = ""


class Contest(_Value):
    administrative: Remedy
    court: Remedy


class _Letter(_Value):
    """What every letter carries. `number` is the letter's own; `sample` prints it as a specimen, with `notice`.

    By `code` anybody can check the letter (docs/receipts.md), at `check_at` where the ministry has such an address.
    """

    language: Language
    digits: Digits = Digits.WESTERN
    office: Office
    place: str = Field(min_length=1, max_length=120)
    date: date
    number: str = Field(min_length=1, max_length=80)
    case_number: str = Field(min_length=1, max_length=80)
    procedure: str = Field(min_length=1)
    applicant: Addressee
    reference: str = Field(default="", description="the applicant's own reference")
    sample: bool = False
    notice: str = ""
    code: str = Field(default="", max_length=40)
    check_at: str = Field(default="", max_length=200)


class Piece(_Value):
    label: str = Field(min_length=1)
    hint: str = ""


class Receipt(_Letter):
    """`pieces` and `missing` are provisional: they go by what the sender called each document.

    `unnamed` counts the documents that the sender did not name; `missing` is None where nobody can tell before the
    dossier is read. `decision_due_on` is the last day of the legal period, None where there is none; `silence` is
    its effect.
    """

    kind: Literal["receipt"] = "receipt"
    received_on: date
    pieces: tuple[str, ...] = Field(default=(), max_length=MANY)
    unnamed: int = Field(default=0, ge=0)
    missing: tuple[Piece, ...] | None = Field(default=(), max_length=MANY)
    decision_due_on: date | None = None
    silence: str = ""
    contest: Contest


class WhyAsked(StrEnum):
    MISSING = "missing"
    UNREADABLE = "unreadable"
    NOT_ACCEPTED = "not_accepted"


class AskedPiece(_Value):
    """`note` says in the clerk's words what is needed."""

    label: str = Field(min_length=1)
    why: WhyAsked
    note: str = ""


class RequestForPieces(_Letter):
    """`suspended_on` is the day from which the period for the decision stands still; `effect` of not answering."""

    kind: Literal["request_for_pieces"] = "request_for_pieces"
    pieces: tuple[AskedPiece, ...] = Field(min_length=1, max_length=MANY)
    until: date
    suspended_on: date
    how: tuple[str, ...] = Field(default=(), max_length=MANY, description="further ways to send than the usual ones")
    effect: str = ""


def _iso_day(value: object) -> object:
    """JSON knows no dates: a day comes back from storage as text."""
    return date.fromisoformat(value) if isinstance(value, str) and _ISO_DAY.fullmatch(value) else value


class Reminder(_Letter):
    """A second word on a request that nothing came on yet: `request` is that letter's number, `asked_on` its date.

    What is asked, until when, and what happens otherwise stand as they stood there.
    """

    kind: Literal["reminder"] = "reminder"
    request: str = Field(min_length=1, max_length=80)
    asked_on: date
    pieces: tuple[AskedPiece, ...] = Field(min_length=1, max_length=MANY)
    until: date
    effect: str = ""


class HeldFact(_Value):
    """A fact the decision rests on. `document` is its title as people know it; `page` is 1-based.

    `as_of` is the day a register answered for. `currency` (ISO 4217) makes an integer an amount.
    """

    label: str = Field(min_length=1)
    value: Annotated[FactValue, BeforeValidator(_iso_day)]
    currency: str = ""
    provenance: Provenance
    document: str = ""
    page: int | None = Field(default=None, ge=1)
    as_of: date | None = None


class StatedGround(_Value):
    text: str = Field(min_length=1)
    legal_basis: str = ""


class AgentPart(_Value):
    """What the software agent did. `model` names it; `rules_only` where a demonstration engine stood in for one.

    `edited`: a person changed the proposal before another approved it.
    """

    model: str = Field(min_length=1, max_length=200)
    rules_only: bool = False
    edited: bool = False


class Signatory(_Value):
    """`delegation` cites the act that lets this person sign."""

    name: str = Field(min_length=1)
    title: str = Field(min_length=1)
    delegation: str = ""


class Decision(_Letter):
    """`agent` is None where people established everything by hand. `amount` is in whole units of `currency`."""

    kind: Literal["decision"] = "decision"
    result: Result
    amount: int | None = Field(default=None, ge=0)
    currency: str = "MAD"
    conditions: tuple[str, ...] = Field(default=(), max_length=MANY)
    grounds: tuple[StatedGround, ...] = Field(min_length=1, max_length=MANY)
    facts: tuple[HeldFact, ...] = Field(default=(), max_length=MANY)
    legal_basis: tuple[str, ...] = Field(min_length=1, max_length=MANY)
    agent: AgentPart | None = None
    signatory: Signatory
    contest: Contest


class Withdrawal(_Letter):
    """Acknowledgement that the applicant withdrew the application on `received_on`."""

    kind: Literal["withdrawal"] = "withdrawal"
    received_on: date


class QuotedFact(HeldFact):
    """`quote` is the passage that it was read from, found on that page; `by_person`: a person entered it."""

    quote: str = ""
    by_person: bool = False


class Explanation(_Letter):
    """How a decision came about, for whom it is about: the agent's part, data and sources, rules, what people did.

    `decision` is that letter's number. `agent` is None where people established everything by hand; `asked` how often
    a model answered, `unfound` how many facts it named without their words on the page; `changed` what a person
    changed of the proposal.
    """

    kind: Literal["explanation"] = "explanation"
    decision: str = Field(min_length=1, max_length=80)
    decided_on: date
    result: Result
    amount: int | None = Field(default=None, ge=0)
    currency: str = "MAD"
    grounds: tuple[StatedGround, ...] = Field(min_length=1, max_length=MANY)
    facts: tuple[QuotedFact, ...] = Field(default=(), max_length=MANY)
    agent: AgentPart | None = None
    asked: int = Field(default=0, ge=0)
    unfound: int = Field(default=0, ge=0)
    changed: tuple[str, ...] = Field(default=(), max_length=MANY)
    signatory: Signatory
    contest: Contest


Letter = Receipt | RequestForPieces | Reminder | Decision | Withdrawal | Explanation
LetterContent = Annotated[Letter, Field(discriminator="kind")]

letter_content: TypeAdapter[Letter] = TypeAdapter(LetterContent)
"""Reads stored content back: `letter_content.validate_json(…)`."""
