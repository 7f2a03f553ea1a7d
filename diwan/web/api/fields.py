"""Checking a value against a pydantic model, with errors that name the field and never repeat the value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from diwan.domain.decision import Proposal
from diwan.domain.errors import InvalidInput
from diwan.domain.event import Application, DocumentRef, FollowUp
from diwan.domain.party import Party
from diwan.domain.task import ActInput
from diwan.web.api.strict_json import pointer

ENVELOPE_FIELDS = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data", "data_base64")
KNOWN = frozenset(ENVELOPE_FIELDS).union(
    *(model.model_fields for model in (Application, DocumentRef, FollowUp, Party, ActInput, Proposal)),
    ("name", "body", "version", "yaml", "policy", "since"),
)

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class FieldError:
    """`pointer` is a JSON pointer into the body sent; `detail` says what is expected there."""

    pointer: str
    detail: str


class InvalidFields(InvalidInput):
    """Several fields are not acceptable; each is listed."""

    def __init__(self, code: str, message: str, remedy: str, fields: Iterable[FieldError]) -> None:
        super().__init__(code, message, remedy)
        self.fields = tuple(fields)


def check_model(model: type[Model], value: JsonValue, *, code: str, under: tuple[str, ...] = ()) -> Model:
    """`value` as `model`; raises `InvalidFields` with every field that is wrong, at most 50."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
    raise InvalidFields(
        code,
        "The body is not as described in /openapi.json.",
        "Correct the fields listed under `errors`.",
        (FieldError(pointer((*under, *problem["loc"]), KNOWN), _said(problem["msg"])) for problem in found[:50]),
    )


def _said(message: str) -> str:
    """pydantic's sentence, in the words of one who sends JSON."""
    return message.removeprefix("Value error, ").replace("Extra inputs are not permitted", "There is no such field")
