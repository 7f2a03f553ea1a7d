"""Proposals and decisions."""

from __future__ import annotations

from pydantic import BaseModel, Field

from diwan.domain.case import Result
from diwan.domain.facts import Fact, FactValue, Provenance


class Conflict(BaseModel):
    """Two provenances give different values for one fact; a person decides."""

    fact: str
    values: dict[Provenance, FactValue]


class RuleOutcome(BaseModel):
    """`holds` is None where a fact that the rule needs is unknown."""

    rule: str
    holds: bool | None


class Assessment(BaseModel):
    """What the procedure's rules say of the facts: pure, repeatable, no model in it.

    `result` is None while something is undetermined (`unknown` facts, `conflicts`, `missing_pieces`).
    `amount` is in whole units of the procedure's currency. `declared_only` names facts that the result rests on
    although only the applicant says so and a document or register could show them.
    """

    result: Result | None
    amount: int | None = None
    rules: list[RuleOutcome] = Field(default_factory=list[RuleOutcome])
    grounds: list[str] = Field(default_factory=list[str], description="ids of rules that carry the result")
    stated_ground: str = Field(
        default="", description="the reason, in a person's words, of a result or amount that no rule gives"
    )
    unknown: list[str] = Field(default_factory=list[str])
    conflicts: list[Conflict] = Field(default_factory=list[Conflict])
    missing_pieces: list[str] = Field(default_factory=list[str])
    unreadable_pieces: list[str] = Field(default_factory=list[str])
    declared_only: list[str] = Field(default_factory=list[str])


class Proposal(BaseModel):
    """What a clerk is asked to approve. `proposer` is an actor's subject: four eyes look at it.

    `warnings` are machine names (`instruction_suspected`, `agent_failed.engine_unavailable`, …).
    """

    proposer: str
    assessment: Assessment
    facts: list[Fact] = Field(default_factory=list[Fact])
    pieces: dict[str, str] = Field(default_factory=dict[str, str], description="piece name → document id")
    summary: str = ""
    warnings: list[str] = Field(default_factory=list[str])
    rejected_claims: list[str] = Field(
        default_factory=list[str], description="names of facts whose quote was not found on the page"
    )
    editors: list[str] = Field(
        default_factory=list[str], description="subjects of all persons whose changes are in it: none approves or signs"
    )
    changed_by: dict[str, str] = Field(
        default_factory=dict[str, str],
        description="each change of a person that is in it (as `changes` names it) → whose",
    )
