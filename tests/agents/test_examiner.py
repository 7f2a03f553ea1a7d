"""The typed answer: its schema is narrow, is what xgrammar compiles, and agrees with the pydantic model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, cast

import jsonschema
import pytest

from agents.dossier import SubmittedDocument, document_list, short_names
from agents.examiner import EXAMINER, Examination, brief, examination_schema, readable_facts
from agents.tools import Effect
from diwan.domain.text import Language
from tests.agents.support import EXAMINATION, housing

DOCUMENTS = [SubmittedDocument("a", 1), SubmittedDocument("b", 2, unreadable=True)]
SCHEMA = examination_schema(housing(), DOCUMENTS)
# What the schema uses was compiled and matched with xgrammar, and answered by vLLM 0.32; try anything else there first.
_SHAPE = {"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf"}
COMPILED = _SHAPE | {"maxItems", "maxLength", "minimum", "maximum"}


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        node = cast("dict[str, Any]", schema)
        yield node
        for key, value in node.items():
            for child in cast("dict[str, Any]", value).values() if key == "properties" else [value]:
                yield from _nodes(child)
    elif isinstance(schema, list):
        for child in cast("list[Any]", schema):
            yield from _nodes(child)


def test_only_keywords_that_were_tried_are_used() -> None:
    for node in _nodes(SCHEMA):
        assert set(node) <= COMPILED


def test_everything_is_bounded_and_nothing_is_optional() -> None:
    for node in _nodes(SCHEMA):
        if node.get("type") == "object":
            assert node["required"] == list(node["properties"])
            assert node["additionalProperties"] is False
        if node.get("type") == "array":
            assert node["maxItems"] <= 120
        if node.get("type") == "integer":
            assert {"minimum", "maximum"} <= set(node)
        if node.get("type") == "string":
            assert "enum" in node or node["maxLength"] <= 1200


def put(*place: str | int, **values: object) -> dict[str, Any]:
    """The sample examination with these values in it, at a place."""
    said = deepcopy(EXAMINATION)
    inside: Any = said
    for key in place:
        inside = inside[key]
    inside.update(values)
    return said


def claim(fact: str, value: object) -> dict[str, Any]:
    return put("claims", 0, fact=fact, value=value)


def check(said: dict[str, Any]) -> Examination:
    jsonschema.validate(said, cast("dict[str, Any]", SCHEMA))
    return Examination.model_validate_json(json.dumps(said))


@pytest.mark.parametrize(
    "said",
    [
        put(),
        claim("first_sale", True),
        claim("permit_date", "2024-03-15"),
        claim("identity_number", "ZZ100001"),
        put("documents", 0, document="d2", piece="unknown"),
        put(documents=[], claims=[], concerns=[], summary=""),
    ],
)
def test_what_the_schema_allows_the_model_reads(said: dict[str, Any]) -> None:
    assert check(said).model_dump(mode="json") == said


@pytest.mark.parametrize(
    "said",
    [
        claim("price", "350000"),
        claim("price", True),
        claim("first_sale", 1),
        claim("permit_date", 20240315),
        claim("earlier_aid", True),  # only a register shows it
        claim("made_up", 1),
        put("documents", 0, document="d3"),
        put("claims", 0, "evidence", page=3),
        put("claims", 0, "evidence", page=0),
        claim("price", 10**13),
        put(documents=EXAMINATION["documents"] * 3),
        put(claims=EXAMINATION["claims"] * 100),
        put("documents", 0, piece="passport"),
        put(summary="x" * 1201),
        put(result="granted"),
    ],
)
def test_what_cannot_be_true_cannot_be_said(said: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(said)


def test_a_procedure_that_reads_no_fact_from_documents_has_a_schema_too() -> None:
    procedure = housing().model_copy(update={"facts": {}})
    schema = cast("dict[str, Any]", examination_schema(procedure, []))
    jsonschema.Draft202012Validator.check_schema(schema)
    nothing: dict[str, Any] = {"documents": [], "claims": [], "concerns": [], "summary": ""}
    jsonschema.validate(nothing, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**nothing, "claims": EXAMINATION["claims"]}, schema)


def test_facts_that_only_a_register_knows_are_not_asked_of_documents() -> None:
    assert "earlier_aid" in housing().facts
    assert "earlier_aid" not in readable_facts(housing())


@pytest.mark.parametrize("language", Language)
def test_the_briefing_names_every_piece_and_readable_fact_in_its_language(language: Language) -> None:
    made = brief(housing(), language, DOCUMENTS, identity_number="ZZ100001")
    for name, piece in housing().pieces.items():
        assert f"- `{name}`: {piece.label.in_(language)}" in made.system["pieces"]
    for name, fact in readable_facts(housing()).items():
        assert f"- `{name}` ({fact.type.value}; " in made.system["facts"]
        assert " ".join(fact.description.in_(language).split()) in made.system["facts"]


def test_documents_are_listed_by_short_names_only() -> None:
    assert list(short_names(DOCUMENTS)) == ["d1", "d2"]
    assert document_list(DOCUMENTS) == {
        "documents": [
            {"document": "d1", "pages": 1, "readable": True},
            {"document": "d2", "pages": 2, "readable": False},
        ]
    }


def test_the_examiner_only_reads() -> None:
    assert {tool.effect for tool in EXAMINER.tools} == {Effect.READ}
