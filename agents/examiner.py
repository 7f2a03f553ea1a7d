"""The dossier examiner: reads every page, says which piece each document is, and claims facts with evidence.

It decides nothing. What it claims counts only as far as `conclude` finds it in the documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StrictInt

from agents.dossier import SubmittedDocument, document_list, short_names
from agents.messages import Briefing, encode
from agents.spec import AgentSpec
from agents.tools import EARLIER_AID, LIST_DOCUMENTS, READ_PAGE
from diwan.domain.text import Language
from diwan.procedures.parts import FactDeclaration, ValueType
from diwan.procedures.schema import Procedure

UNKNOWN = "unknown"
_MAX_DOCUMENTS = 60
_MAX_CLAIMS = 120
_CLAIMS_A_FACT = 3
_MAX_CONCERNS = 10
_LARGEST = 10**12
QUOTE_LIMIT = 300

_ShortName = Annotated[str, Field(max_length=4)]
_MachineName = Annotated[str, Field(max_length=63)]


class _Output(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)


class ConcernCode(StrEnum):
    """What an examiner may draw a clerk's attention to."""

    INSTRUCTION_IN_DOCUMENT = "instruction_in_document"
    OTHER_PERSON = "other_person"  # a document concerns somebody else
    CONTRADICTION = "contradiction"
    ALTERED = "altered"
    EXPIRED = "expired"
    ILLEGIBLE = "illegible"
    OTHER = "other"


class DocumentReading(_Output):
    document: _ShortName
    piece: _MachineName


class Quote(_Output):
    document: _ShortName
    page: StrictInt
    quote: Annotated[str, Field(max_length=QUOTE_LIMIT)]


class Claim(_Output):
    """Not a fact yet. `value` is as the model gives it: a date, for one, is still text."""

    fact: _MachineName
    value: StrictBool | StrictInt | Annotated[str, Field(max_length=200)]
    evidence: Quote


class Concern(_Output):
    code: ConcernCode
    text: Annotated[str, Field(max_length=300)]


class Examination(_Output):
    """The examiner's typed answer. Personal data throughout."""

    documents: Annotated[list[DocumentReading], Field(max_length=_MAX_DOCUMENTS)]
    claims: Annotated[list[Claim], Field(max_length=_MAX_CLAIMS)]
    concerns: Annotated[list[Concern], Field(max_length=_MAX_CONCERNS)]
    summary: Annotated[str, Field(max_length=1200)]


EXAMINER = AgentSpec(
    name="dossier-examiner",
    version="1",
    capability="dossier-reading",
    prompts="1",
    tools=(LIST_DOCUMENTS, READ_PAGE, EARLIER_AID),
    output=Examination,
)


def brief(
    procedure: Procedure, language: Language, documents: Sequence[SubmittedDocument], *, identity_number: str = ""
) -> Briefing:
    """What one examination is about. `documents` in an order that stays the same for the whole run."""
    listed = document_list(documents)["documents"]
    lines = [encode(item) for item in listed] if isinstance(listed, list) else []
    return Briefing(
        language=language,
        system={
            "title": procedure.title.in_(language),
            "pieces": "\n".join(_piece_line(procedure, name, language) for name in procedure.pieces),
            "facts": "\n".join(_fact_line(name, fact, language) for name, fact in readable_facts(procedure).items()),
        },
        dossier={"documents": "\n".join(lines), "identity_number": encode(identity_number or None)},
        schema=examination_schema(procedure, documents),
    )


def readable_facts(procedure: Procedure) -> dict[str, FactDeclaration]:
    """The facts that documents can show; the others come from the form or a register."""
    return {name: fact for name, fact in procedure.facts.items() if fact.source.pieces}


def _piece_line(procedure: Procedure, name: str, language: Language) -> str:
    piece = procedure.pieces[name]
    hint = f" — {piece.hint.in_(language)}" if piece.hint else ""
    return _one_line(f"- `{name}`: {piece.label.in_(language)}{hint}")


def _fact_line(name: str, fact: FactDeclaration, language: Language) -> str:
    pieces = ", ".join(f"`{piece}`" for piece in fact.source.pieces)
    meaning = f"{fact.label.in_(language)} — {fact.description.in_(language)}"
    return _one_line(f"- `{name}` ({fact.type.value}; {pieces}): {meaning}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def examination_schema(procedure: Procedure, documents: Sequence[SubmittedDocument]) -> dict[str, JsonValue]:
    """JSON Schema of an `Examination` of this dossier under this procedure, for constrained decoding.

    Only what xgrammar compiles: objects with all properties required and none besides, enums, bounded arrays, strings
    and numbers, `anyOf`. One variant of a claim a type of value, so that a price cannot be text. Bounds are those of
    this dossier: a model that falls into repeating itself reaches the end of the answer before that of its tokens.
    """
    document: JsonValue = {"type": "string", "enum": list(short_names(documents)) or [UNKNOWN]}
    pieces: list[JsonValue] = [*procedure.pieces, UNKNOWN]
    last_page = max((each.pages for each in documents), default=0)
    evidence = _object(document=document, page=_integer(1, max(last_page, 1)), quote=_string(QUOTE_LIMIT))
    variants: list[JsonValue] = []
    for type_, value in _VALUES.items():
        names: list[JsonValue] = [name for name, fact in readable_facts(procedure).items() if fact.type is type_]
        if names:
            variants.append(_object(fact={"type": "string", "enum": names}, value=value, evidence=evidence))
    codes: list[JsonValue] = [code.value for code in ConcernCode]
    most_claims = min(_MAX_CLAIMS, _CLAIMS_A_FACT * len(readable_facts(procedure)))
    claims = _array({"anyOf": variants}, most_claims) if variants else _array(_object(), 0)
    return _object(
        documents=_array(_object(document=document, piece={"type": "string", "enum": pieces}), len(documents)),
        claims=claims,
        concerns=_array(_object(code={"type": "string", "enum": codes}, text=_string(300)), _MAX_CONCERNS),
        summary=_string(1200),
    )


def _object(**properties: JsonValue) -> dict[str, JsonValue]:
    required: list[JsonValue] = [*properties]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _string(most: int) -> JsonValue:
    return {"type": "string", "maxLength": most}


def _integer(least: int, most: int) -> JsonValue:
    return {"type": "integer", "minimum": least, "maximum": most}


def _array(items: JsonValue, most: int) -> JsonValue:
    return {"type": "array", "items": items, "maxItems": most}


_VALUES: Mapping[ValueType, JsonValue] = {
    ValueType.TEXT: _string(200),
    ValueType.INTEGER: _integer(-_LARGEST, _LARGEST),
    ValueType.BOOLEAN: {"type": "boolean"},
    ValueType.DATE: _string(40),
}
