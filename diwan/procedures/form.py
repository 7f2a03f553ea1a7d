"""The form of a procedure: its JSON Schema, the check of answers against it, and what the answers declare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, cast

from jsonschema import Draft202012Validator, validators
from jsonschema import ValidationError as SchemaError
from pydantic import BaseModel, ConfigDict, JsonValue

from diwan.domain.facts import Fact, Provenance
from diwan.domain.text import Language
from diwan.procedures.guards import matches
from diwan.procedures.parts import FieldType, FormField
from diwan.procedures.schema import Procedure
from diwan.procedures.values import read_value

IDENTITY_NUMBER = "identity_number"  # the form's field, as the party's and the fact's

_JSON_TYPES = {
    FieldType.TEXT: "string",
    FieldType.CHOICE: "string",
    FieldType.DATE: "string",
    FieldType.INTEGER: "integer",
    FieldType.BOOLEAN: "boolean",
}


class FieldError(BaseModel):
    """What is wrong with one answer. `pointer` is RFC 6901 into the answers; the answer itself is never repeated."""

    model_config = ConfigDict(frozen=True)

    pointer: str
    code: str
    message: str
    remedy: str = ""


def answers_schema(procedure: Procedure) -> dict[str, Any]:
    """JSON Schema 2020-12 of `answers`. Titles are in the law's language; `x-labels` and `x-hints` have all three.

    Patterns are RE2 and read the same in ECMA-262.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:diwan:procedure:{procedure.name}:{procedure.version}:answers",
        "title": procedure.title.in_(Language(procedure.law_language)),
        "x-labels": procedure.title.model_dump(),
        "type": "object",
        "properties": {name: _property(field, procedure) for name, field in procedure.form.items()},
        "required": [name for name, field in procedure.form.items() if field.required],
        "additionalProperties": False,
    }


def _property(field: FormField, procedure: Procedure) -> dict[str, Any]:
    language = Language(procedure.law_language)
    schema: dict[str, Any] = {
        "type": _JSON_TYPES[field.type],
        "title": field.label.in_(language),
        "x-labels": field.label.model_dump(),
        "x-personal": field.personal,
    }
    if field.hint:
        schema |= {"description": field.hint.in_(language), "x-hints": field.hint.model_dump()}
    if field.type is FieldType.TEXT:
        schema |= {"minLength": 1, "maxLength": field.max_length}
    if field.pattern:
        schema["pattern"] = field.pattern
    if field.type is FieldType.DATE:
        schema["format"] = "date"
    if field.minimum is not None:
        schema["minimum"] = field.minimum
    if field.maximum is not None:
        schema["maximum"] = field.maximum
    if field.choices:
        schema["enum"] = list(field.choices)
        schema["x-choices"] = {value: label.model_dump() for value, label in field.choices.items()}
    return schema


def check_answers(procedure: Procedure, answers: Mapping[str, JsonValue]) -> list[FieldError]:
    """Everything that is wrong with `answers`, in the order of the form; an empty list where nothing is."""
    validator = _Validator(answers_schema(procedure))
    found = list(validator.iter_errors(dict(answers)))
    order = list(procedure.form)
    errors = [_translate(error) for error in found]
    return sorted(errors, key=lambda error: order.index(name) if (name := error.pointer[1:]) in order else -1)


def _required(
    _validator: object, names: list[str], instance: object, _schema: Mapping[str, Any]
) -> Iterator[SchemaError]:
    if isinstance(instance, Mapping):
        for name in names:
            if name not in instance:
                yield SchemaError("required", path=[name])


def _pattern(_validator: object, pattern: str, instance: object, _schema: Mapping[str, Any]) -> Iterator[SchemaError]:
    if isinstance(instance, str) and not matches(pattern, instance):
        yield SchemaError("pattern")


def _format(_validator: object, _format: str, instance: object, _schema: Mapping[str, Any]) -> Iterator[SchemaError]:
    if isinstance(instance, str) and not _is_day(instance):
        yield SchemaError("format")


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


# jsonschema with three keywords of ours: what is missing has a path, patterns take linear time, a date is checked.
_KEYWORDS = {"required": _required, "pattern": _pattern, "format": _format}
_Validator = cast("type[Draft202012Validator]", validators.extend(Draft202012Validator, _KEYWORDS))


def _translate(error: SchemaError) -> FieldError:
    """Our words for jsonschema's, which repeat the answer."""
    pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in error.absolute_path)
    limit = error.validator_value
    match str(error.validator):
        case "required":
            message, remedy = "This answer is required.", "Give it."
        case "additionalProperties":
            message = "There are answers that the form does not ask for."
            remedy = f"It asks for: {', '.join(cast('Mapping[str, Any]', error.schema)['properties'])}."
        case "type":
            message, remedy = f"The answer has to be of type {limit}.", "Numbers and true or false go without quotes."
        case "format":
            message, remedy = "The answer has to be a day.", "Write it as 2023-05-14."
        case "enum":
            choices = ", ".join(cast("list[str]", limit))
            message, remedy = "This is not one of the choices.", f"Choices: {choices}."
        case "minimum" | "maximum":
            message, remedy = f"The answer is beyond the {error.validator}, {limit}.", "Check the number."
        case "minLength":
            message, remedy = "The answer is empty.", "Give it, or leave it out where it is not required."
        case "maxLength":
            message, remedy = f"The text has more than {limit} characters.", "Shorten it."
        case _:
            message, remedy = "The answer is not written as the form asks.", f"It has to match {limit}."
    return FieldError(pointer=pointer, code=f"answer.{error.validator}", message=message, remedy=remedy)


def declared_facts(procedure: Procedure, answers: Mapping[str, JsonValue], as_of: date) -> list[Fact]:
    """What the applicant declares by answers that passed `check_answers`, as of the day they came in."""
    return [
        Fact(
            name=name,
            value=read_value(declared.type, answer),
            provenance=Provenance.DECLARED,
            as_of=as_of,
            established_by="form",
        )
        for name, declared in procedure.facts.items()
        if declared.source.form is not None and (answer := answers.get(declared.source.form)) is not None
    ]


def answered_number(procedure: Procedure, answers: Mapping[str, JsonValue]) -> str:
    """The applicant's own identity number, where the form has a field of that name; empty where it has none."""
    answer = answers.get(IDENTITY_NUMBER) if IDENTITY_NUMBER in procedure.form else None
    return "" if answer is None else str(answer)
