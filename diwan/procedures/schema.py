"""The procedure file as a value: what an analyst writes, read once, never changed (docs/procedures.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from diwan.domain.errors import NotFound
from diwan.domain.ports import RetentionClass
from diwan.domain.text import Localized
from diwan.procedures.parts import (
    Appeal,
    Declared,
    FactDeclaration,
    FormField,
    Ground,
    Keep,
    ModelUse,
    Name,
    Outcome,
    Piece,
    Retention,
    RetentionYears,
    Rule,
    StillMissing,
)
from diwan.procedures.steps import CalendarDeclaration, GlobalTransition, Period, Step

SCHEMA = "diwan.procedure/1"
MISSING_PIECES = "missing_pieces"  # the ground's id where pieces did not come


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Procedure(Declared):
    """One version of one procedure. Mappings keep the order of the file; it is meant where order matters."""

    schema_: Literal["diwan.procedure/1"] = Field(alias="schema")
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    version: Annotated[
        str, StringConstraints(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6}){0,2}$"), BeforeValidator(_number_as_text)
    ]
    title: Localized
    office: Localized
    notice: Localized | None = None
    series: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9]{0,9}$")]
    law_language: Literal["ar", "fr", "en"]
    legal_basis: list[Localized] = Field(min_length=1)
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    calendar: CalendarDeclaration
    form: dict[Name, FormField]
    pieces: dict[Name, Piece]
    still_missing: StillMissing
    facts: dict[Name, FactDeclaration]
    rules: dict[Name, Rule]
    outcomes: dict[Name, Outcome] = Field(min_length=1)
    periods: dict[Name, Period]
    start: Name
    steps: dict[Name, Step] = Field(min_length=2)
    on_event: list[GlobalTransition] = Field(default_factory=list[GlobalTransition])
    appeal: Appeal
    retention: Retention | None = None
    retention_years: RetentionYears | None = None
    models: ModelUse = ModelUse()

    @property
    def required_pieces(self) -> list[str]:
        return [name for name, piece in self.pieces.items() if piece.required]

    def keep(self, retention: RetentionClass) -> Keep:
        """For how long a class of a case's data is kept. A file has one of the two forms (crosscheck.py)."""
        if self.retention is not None:
            return getattr(self.retention, retention.value)
        assert self.retention_years is not None
        return Keep(length=getattr(self.retention_years, retention.value))

    def facts_of_piece(self, piece: str) -> list[str]:
        """Names of the facts that are read from `piece`."""
        return [name for name, fact in self.facts.items() if piece in fact.source.pieces]

    def ground(self, ground_id: str) -> Ground:
        """The reason behind an id in `Assessment.grounds`: a rule, an outcome or the missing pieces.

        Raises `NotFound` for any other.
        """
        found = self.rules.get(ground_id) or self.outcomes.get(ground_id)
        if ground_id == MISSING_PIECES:
            found = self.still_missing
        if found is None:
            raise NotFound("procedure.ground_unknown", f"Procedure {self.name} has no ground of this id.")
        return found
