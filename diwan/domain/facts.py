"""What is held to be true in a case, where it comes from, and the evidence for it."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

FactValue = bool | int | str | date


class Provenance(StrEnum):
    DECLARED = "declared"  # the applicant says so
    DOCUMENT = "document"  # it stands in a document, with evidence
    REGISTRY = "registry"  # a register answers so, as of a day


class Evidence(BaseModel):
    """A quote that was looked for, and found, on this page of this document."""

    model_config = ConfigDict(frozen=True)

    document: str
    page: int = Field(ge=1, description="1-based")
    quote: str


class Fact(BaseModel):
    """A named value of a case. `established_by` is an actor's subject or `form`.

    `by_person`: a person entered it after looking (a clerk's edit); it then counts over every other provenance.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    value: FactValue
    provenance: Provenance
    as_of: date
    established_by: str
    by_person: bool = False
    evidence: Evidence | None = None


class PageText(BaseModel):
    """Text of one page, as two extractors read it. `text` is what is shown and searched."""

    model_config = ConfigDict(frozen=True)

    document: str
    page: int = Field(ge=1)
    text: str
    second_text: str = ""
    agreement: float = Field(default=1.0, ge=0, le=1, description="share of words both extractors give")
