"""POST /v1/events: CloudEvents in structured, batch and binary mode, and multipart with documents."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from diwan.domain.actor import Actor
from diwan.domain.errors import DiwanError, InvalidInput, UnsupportedMedia
from diwan.domain.text import Language
from diwan.tracing import spans
from diwan.web.api import cloudevent, multipart
from diwan.web.api.bodies import chunks, expected_size, media_type, off_loop, read_body
from diwan.web.api.callers import Sender, Wanted
from diwan.web.api.cloudevent import Incoming
from diwan.web.api.examples import BATCH_ANSWER, EVENT
from diwan.web.api.intake import take
from diwan.web.api.multipart import EVENT_PART, Part
from diwan.web.api.views import AcceptedEvent
from diwan.web.dependencies import Dependencies, Deps
from diwan.web.openapi import bodies, reference
from diwan.web.problems import marshal

router = APIRouter(prefix="/v1/events", tags=["intake"])

MULTIPART = "multipart/form-data"

_EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1, "maxLength": 200},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1, "maxLength": 300},
        "type": {
            "type": "string",
            "enum": [
                "diwan.application.submitted",
                "diwan.application.withdrawn",
                "diwan.notification.received",
                "diwan.pieces.supplied",
            ],
        },
        "subject": {"type": "string", "maxLength": 120, "description": "a follow-up's case: its id or number"},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"type": "string", "examples": ["application/json"]},
        "data": {
            "anyOf": [{"$ref": "#/components/schemas/Application"}, {"$ref": "#/components/schemas/FollowUp"}],
        },
    },
}
_MULTIPART_SCHEMA = {
    "type": "object",
    "required": [EVENT_PART],
    "properties": {EVENT_PART: _EVENT_SCHEMA},
    "additionalProperties": {"type": "string", "format": "binary", "description": "a document named by its `part`"},
}
_BODIES = {
    cloudevent.STRUCTURED: {"schema": _EVENT_SCHEMA, "example": EVENT},
    cloudevent.BATCH: {"schema": {"type": "array", "maxItems": 100, "items": _EVENT_SCHEMA}, "example": [EVENT]},
    MULTIPART: {"schema": _MULTIPART_SCHEMA, "encoding": {EVENT_PART: {"contentType": cloudevent.STRUCTURED}}},
    cloudevent.JSON: {"schema": {"type": "object"}, "example": EVENT["data"]},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "On record; it takes effect exactly once. The same event again gets the same answer.",
        "headers": {"Location": {"schema": {"type": "string"}, "description": "address of the case"}},
        "content": {"application/json": {"schema": reference(AcceptedEvent)}},
    },
    207: {
        "description": "Of a batch, some were accepted and some were not: one answer for each, in order.",
        "content": {"application/json": {"schema": {"type": "array"}, "example": BATCH_ANSWER}},
    },
}


@router.post(
    "",
    status_code=202,
    summary="Send an event: an application, or something about a case",
    description="Structured, batch or binary mode of CloudEvents 1.0, or multipart/form-data with the event in the "
    "part `event` and documents in parts of their own. Binary mode puts attributes into `ce-` headers.",
    response_model=AcceptedEvent,
    responses=_RESPONSES,
    openapi_extra=bodies(_BODIES),
)
async def post(request: Request, deps: Deps, actor: Sender, language: Wanted) -> Response:
    request.state.on_record = True  # accept_event records what it refuses
    limit = _limit(request, deps)
    with deps.budget.hold(expected_size(request, limit)):
        if media_type(request) == cloudevent.BATCH:
            body = await read_body(request, deps.limits, limit)
            return await _batch(deps, actor, body, _traceparent(request), language)
        event, parts = await _read(request, deps, limit)
        accepted = await take(deps, actor, event, parts, language)
    headers = {"Location": accepted.address} if accepted.address else {}
    return JSONResponse(accepted.model_dump(mode="json"), status_code=202, headers=headers)


def _limit(request: Request, deps: Dependencies) -> int:
    limits = {cloudevent.BATCH: deps.limits.batch_bytes, MULTIPART: deps.limits.multipart_bytes}
    return limits.get(media_type(request), deps.limits.json_bytes)


async def _read(request: Request, deps: Dependencies, limit: int) -> tuple[Incoming, dict[str, Part]]:
    limits, trace, kind = deps.limits, _traceparent(request), media_type(request)
    if kind == MULTIPART:
        content_type = request.headers["content-type"]
        parts = await multipart.read_parts(content_type, chunks(request, limits, limit), limits)
        if EVENT_PART not in parts:
            raise InvalidInput("event.part_missing", "There is no part `event`.", "Put the event's JSON into it.")
        body = parts.pop(EVENT_PART).content
        return await off_loop(len(body), cloudevent.from_structured, body, limits, traceparent=trace), parts
    if kind == cloudevent.STRUCTURED:
        body = await read_body(request, limits, limit)
        return await off_loop(len(body), cloudevent.from_structured, body, limits, traceparent=trace), {}
    if "ce-specversion" in request.headers and (kind == cloudevent.JSON or kind.endswith("+json") or not kind):
        headers = list(request.headers.items())
        body = await read_body(request, limits, limit)
        of_type = request.headers.get("content-type", cloudevent.JSON)
        return cloudevent.from_binary(headers, of_type, body, limits, traceparent=trace), {}
    raise UnsupportedMedia(
        "event.media_type",
        "This type of body is not taken here.",
        f"Send {cloudevent.STRUCTURED}, {cloudevent.BATCH}, {MULTIPART}, or {cloudevent.JSON} with ce- headers.",
    )


async def _batch(deps: Dependencies, actor: Actor, body: bytes, trace: str, language: Language) -> JSONResponse:
    """Each event on its own: one that is refused does not keep the next from being taken."""
    read = await off_loop(len(body), cloudevent.from_batch, body, deps.limits, traceparent=trace)
    answers: list[dict[str, Any]] = []
    for event in read:
        try:
            if isinstance(event, InvalidInput):
                raise event
            with spans.request(f"accept {event.type}", spans.CONSUMER):
                accepted = await take(deps, actor, event, {}, language)
            answers.append(accepted.model_dump(mode="json"))
        except DiwanError as error:
            answers.append(marshal(error))
    all_taken = all(answer["status"] == 202 for answer in answers)
    return JSONResponse(answers, status_code=202 if all_taken else 207)


def _traceparent(request: Request) -> str:
    return request.headers.get("traceparent", "")
