"""The evidence check: which of an examiner's claims are facts, and why the others are not.

A claim becomes a fact only if the quote stands on that page, the value stands in the quote, and the document is one
of the pieces that the procedure reads the fact from. Claims that differ cancel out: a person looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from agents import evidence
from agents.dossier import SubmittedDocument
from agents.evidence import Searchable
from agents.examiner import Claim, readable_facts
from diwan.domain.facts import Evidence, Fact, FactValue, PageText, Provenance
from diwan.domain.fold import parse_amount, parse_date
from diwan.procedures.parts import FactDeclaration, ValueType
from diwan.procedures.schema import Procedure


class Why(StrEnum):
    """Why a claim is not evidence."""

    UNKNOWN_FACT = "unknown_fact"
    WRONG_TYPE = "wrong_type"
    WRONG_PIECE = "wrong_piece"
    QUOTE_TOO_SHORT = "quote_too_short"
    QUOTE_NOT_FOUND = "quote_not_found"
    VALUE_NOT_IN_QUOTE = "value_not_in_quote"
    VALUES_DIFFER = "values_differ"


class RejectedClaim(BaseModel):
    """`fact` is empty where the procedure has no fact of that name: the name is the model's text."""

    model_config = ConfigDict(frozen=True)

    fact: str
    why: Why


class Dossier:
    """What claims are held against. `documents` by short name; `kinds`: short name → piece, where it is one."""

    def __init__(
        self, documents: Mapping[str, SubmittedDocument], kinds: Mapping[str, str], pages: Sequence[PageText]
    ) -> None:
        self.documents = documents
        self.kinds = kinds
        self._pages = pages
        self._readings: dict[tuple[str, int], list[Searchable]] = {}

    def readings(self, document: str, page: int) -> list[Searchable]:
        """The texts of a page, as each extractor gives it; none where there is no such page."""
        if document not in self.documents:
            return []
        place = (self.documents[document].id, page)
        if place not in self._readings:
            found = [each for each in self._pages if (each.document, each.page) == place]
            texts = [text for each in found for text in (each.text, each.second_text) if text]
            self._readings[place] = [Searchable.of(text) for text in texts]
        return self._readings[place]


def check_claims(
    procedure: Procedure, claims: Sequence[Claim], dossier: Dossier, *, as_of: date, established_by: str
) -> tuple[list[Fact], list[RejectedClaim]]:
    """Facts, in the procedure's order, and what was rejected. `as_of`: the day the documents were read."""
    facts: list[Fact] = []
    rejected: list[RejectedClaim] = []
    held: dict[str, list[tuple[FactValue, Claim]]] = {}
    declarations = readable_facts(procedure)
    for claim in claims:
        value = _value(declarations.get(claim.fact), claim, dossier)
        if isinstance(value, Why):
            rejected.append(RejectedClaim(fact=claim.fact if claim.fact in declarations else "", why=value))
        else:
            held.setdefault(claim.fact, []).append((value, claim))
    for name, declaration in declarations.items():
        values = held.get(name, [])
        if len({comparable(value) for value, _ in values}) > 1:
            rejected.append(RejectedClaim(fact=name, why=Why.VALUES_DIFFER))
        elif values:
            rank = declaration.source.pieces.index
            value, claim = min(values, key=lambda each: rank(dossier.kinds[each[1].evidence.document]))
            facts.append(_fact(name, value, claim, dossier, as_of, established_by))
    return facts, rejected


def _fact(name: str, value: FactValue, claim: Claim, dossier: Dossier, as_of: date, established_by: str) -> Fact:
    quote = claim.evidence
    return Fact(
        name=name,
        value=value,
        provenance=Provenance.DOCUMENT,
        as_of=as_of,
        established_by=established_by,
        evidence=Evidence(document=dossier.documents[quote.document].id, page=quote.page, quote=quote.quote),
    )


def _value(declaration: FactDeclaration | None, claim: Claim, dossier: Dossier) -> FactValue | Why:
    """The claimed value, typed, or why it does not count."""
    if declaration is None:
        return Why.UNKNOWN_FACT
    where = claim.evidence
    value = coerce(declaration.type, claim.value)
    if value is None:
        return Why.WRONG_TYPE
    if dossier.kinds.get(where.document) not in declaration.source.pieces:
        return Why.WRONG_PIECE
    if not evidence.long_enough(where.quote, boolean=isinstance(value, bool)):
        return Why.QUOTE_TOO_SHORT
    if not evidence.stands_on(where.quote, dossier.readings(where.document, where.page)):
        return Why.QUOTE_NOT_FOUND
    if not evidence.value_in(where.quote, value):
        return Why.VALUE_NOT_IN_QUOTE
    return value


def coerce(type_: ValueType, value: bool | int | str) -> FactValue | None:
    """The value as the procedure declares its type; None where it is not one."""
    match type_, value:
        case ValueType.BOOLEAN, bool():
            return value
        case ValueType.INTEGER, bool():
            return None
        case ValueType.INTEGER, int():
            return value
        case ValueType.INTEGER, str():
            amount = parse_amount(value)
            return int(amount) if amount is not None and amount == int(amount) else None
        case ValueType.DATE, str():
            return parse_date(value)
        case ValueType.TEXT, str():
            return value.strip() or None
        case _:
            return None


def comparable(value: FactValue) -> str:
    """Equal for two spellings of one value; a date is one whether it comes typed or as ISO text."""
    return evidence.same_text(str(value))
