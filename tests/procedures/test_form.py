"""Answers are checked as their JSON Schema says, and what is wrong is said without repeating it."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import JsonValue

from diwan.domain.facts import Provenance
from diwan.procedures.form import answers_schema, check_answers, declared_facts
from diwan.procedures.load import load_procedure
from tests.procedures.support import DAY, sample, text
from tests.support.strategies import json_of

GOOD: dict[str, JsonValue] = {
    "identity_number": "ZZ100001",
    "household": 4,
    "residence": "مدينة النموذج",
    "price": 280_000,
    "rooms": 3,
    "permit_date": "2024-05-02",
    "notary": "Me Supposé",
    "bank_account": "999000000000000000000001",
}


def codes(**changes: JsonValue) -> list[tuple[str, str]]:
    return [(error.pointer, error.code) for error in check_answers(sample(), {**GOOD, **changes})]


def test_the_schema_is_a_schema_and_speaks_three_languages() -> None:
    schema = answers_schema(sample())
    Draft202012Validator.check_schema(schema)
    price = schema["properties"]["price"]
    assert price["type"] == "integer"
    assert price["x-labels"] == {
        "ar": "ثمن المسكن بالدرهم",
        "fr": "Prix du logement en dirhams",
        "en": "Price of the dwelling in dirhams",
    }
    assert price["title"] == price["x-labels"]["ar"]  # the law's language
    assert schema["properties"]["bank_account"]["x-personal"] is True
    assert schema["additionalProperties"] is False
    json.dumps(schema)


def test_good_answers_pass() -> None:
    assert codes() == []
    assert codes(bank_account="999 000 0000000000000000 01", identity_number="zz 100001") == []


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("price", "280000", "type"),
        ("price", 280_000.5, "type"),
        ("price", True, "type"),
        ("price", 0, "minimum"),
        ("price", 10**12, "maximum"),
        ("price", None, "type"),
        ("permit_date", "02/05/2024", "format"),
        ("permit_date", "2024-02-30", "format"),
        ("permit_date", "20240502", "format"),
        ("identity_number", "100001", "pattern"),
        ("identity_number", "ZZ100001\n", "pattern"),
        ("residence", "", "minLength"),
        ("residence", "x" * 201, "maxLength"),
        ("notary", ["a"], "type"),
    ],
)
def test_a_bad_answer_is_pointed_at(name: str, value: JsonValue, code: str) -> None:
    assert codes(**{name: value}) == [(f"/{name}", f"answer.{code}")]


def test_every_missing_answer_is_named() -> None:
    found = check_answers(sample(), {})
    assert [error.pointer for error in found] == [f"/{name}" for name in sample().form]
    assert {error.code for error in found} == {"answer.required"}


def test_nothing_that_was_sent_is_said_again() -> None:
    planted = "Fatima-Secret-4711"
    bad: dict[str, JsonValue] = {**dict.fromkeys(GOOD, planted), planted: planted}
    found = check_answers(sample(), bad)
    assert len(found) >= 6
    assert planted not in "".join(error.model_dump_json() for error in found)


CHOICE = """  household:
    type: choice
    choices:
      owner: {ar: مالك, fr: propriétaire, en: owner}
      tenant: {ar: مكتر, fr: locataire, en: tenant}"""


def test_choices() -> None:
    yaml = text(("  household:\n    type: integer", CHOICE), ("    minimum: 1\n    maximum: 30\n", ""))
    procedure = load_procedure(yaml)
    schema = answers_schema(procedure)["properties"]["household"]
    assert schema["enum"] == ["owner", "tenant"]
    assert schema["x-choices"]["owner"]["fr"] == "propriétaire"
    assert check_answers(procedure, {**GOOD, "household": "tenant"}) == []
    assert check_answers(procedure, {**GOOD, "household": "guest"})[0].code == "answer.enum"


ANYTHING = st.integers(-5, 10**10) | st.floats(allow_nan=False) | st.text(max_size=30)
JUNK = json_of(ANYTHING, st.text(max_size=5), wide=3, leaves=4)
ANSWERS = st.dictionaries(st.sampled_from([*GOOD, "other", "a/b", "~"]), JUNK, max_size=9)


@given(ANSWERS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_our_check_and_the_published_schema_agree(junk: dict[str, Any], complete: bool) -> None:
    answers = {**GOOD, **junk} if complete else junk
    validator = Draft202012Validator(answers_schema(sample()), format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert (check_answers(sample(), answers) == []) is validator.is_valid(answers)


def test_answers_declare_facts() -> None:
    facts = {fact.name: fact for fact in declared_facts(sample(), GOOD, DAY)}
    assert {name: fact.value for name, fact in facts.items()} == {
        "identity_number": "ZZ100001",
        "rooms": 3,
        "permit_date": date(2024, 5, 2),
        "price": 280_000,
    }
    assert {(fact.provenance, fact.as_of, fact.established_by) for fact in facts.values()} == {
        (Provenance.DECLARED, DAY, "form")
    }
