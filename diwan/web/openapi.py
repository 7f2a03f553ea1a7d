"""The description of the API (OpenAPI 3.1): FastAPI's, completed with problems, bodies read by hand, and security."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from diwan.domain.event import Application, FollowUp
from diwan.web.api.entry_views import PersonQuery
from diwan.web.api.examples import PROBLEM
from diwan.web.api.views import ActBody, AskErasureBody, BundleBody, ClockBody, ReasonBody

_REF = "#/components/schemas/{model}"
_MODELS: tuple[type[BaseModel], ...] = (
    *(Application, FollowUp, ActBody, BundleBody, ClockBody, PersonQuery, AskErasureBody, ReasonBody),
)
# Those of /ledger are hashes and what is signed of them, for anybody, and a letter for whoever has its code.
OPEN_PATHS = frozenset(
    {
        *("/healthz", "/readyz", "/openapi.json", "/ledger/checkpoint", "/ledger/{shard}/checkpoint"),
        *("/ledger/witnessed", "/ledger/{shard}/witnessed"),
        *("/ledger/tile/{path:path}", "/ledger/{shard}/tile/{path:path}", "/ledger/receipts/{code}"),
    }
)
_OPEN = frozenset(path.replace(":path", "") for path in OPEN_PATHS)

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `code` is stable; `remedy` says what to do; nothing repeats what was sent.",
    "required": ["type", "title", "status", "detail", "code", "disposition"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "remedy": {"type": "string"},
        "disposition": {"type": "string", "enum": ["retry", "final", "needs_person"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body sent"},
                    "in": {"type": "string", "enum": ["path", "query", "header"]},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
_DESCRIPTIONS = {
    "400": "What was sent cannot be read.",
    "401": "No valid access token.",
    "403": "The token's roles or its sender's sources do not allow this. The refusal is on record.",
    "404": "There is no such thing, or not for this caller.",
    "408": "The body arrived too slowly.",
    "409": "It was done otherwise already, or has changed since it was read. The refusal is on record.",
    "410": "What was there is erased: nothing brings it back.",
    "413": "More than is taken; the limits are in docs/api.md.",
    "415": "A type of body that is not taken.",
    "422": "What was sent is understood and not acceptable; `errors` lists the fields.",
    "500": "The service could not do this; the same request is safe to repeat.",
    "503": "A part that is needed does not answer now; try again after `Retry-After`.",
}


def reference(model: type[BaseModel]) -> dict[str, str]:
    """The place of a model's schema in the description."""
    return {"$ref": _REF.format(model=model.__name__)}


def json_body(schema: Mapping[str, Any], example: object, *, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route that reads one JSON body itself."""
    return bodies({"application/json": {"schema": schema, "example": example}}, required=required)


def bodies(content: Mapping[str, Any], *, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body itself, by media type."""
    return {"requestBody": {"required": required, "content": dict(content)}}


def describe(app: FastAPI) -> dict[str, Any]:
    """The whole description; made once and kept."""
    if app.openapi_schema:
        return app.openapi_schema
    made = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    _, extra = models_json_schema([(model, "validation") for model in _MODELS], ref_template=_REF)
    schemas.update({name: schema for name, schema in extra["$defs"].items() if name not in schemas})
    schemas["Problem"] = _PROBLEM
    made["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "OIDC access token"}
    }
    for path, operations in made["paths"].items():
        for operation in operations.values():
            _complete(path, operation)
    app.openapi_schema = made
    return made


def _complete(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    wanted = ["500", "503"]
    if path not in _OPEN:
        operation["security"] = [{"token": []}]
        wanted += ["401", "403", "422"]
    if "{" in path or path.startswith("/ledger"):
        wanted += ["404", "410"]
    if "requestBody" in operation:
        wanted += ["400", "408", "409", "413", "415"]
    for status in sorted(wanted):
        responses.setdefault(status, _problem_response(status))


def _problem_response(status: str) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/Problem"}}
    if status == "422":
        content["example"] = PROBLEM
    response: dict[str, Any] = {
        "description": _DESCRIPTIONS[status],
        "content": {"application/problem+json": content},
    }
    headers = {"401": "WWW-Authenticate", "503": "Retry-After"}
    if status in headers:
        response["headers"] = {headers[status]: {"schema": {"type": "string"}}}
    return response
