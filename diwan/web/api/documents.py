"""Documents: uploaded ahead of their event, listed with their case, and given out so that no browser runs them."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response

from diwan.domain.actor import Actor
from diwan.domain.errors import InvalidInput, NotFound, Refused, UnsupportedMedia
from diwan.domain.task import TaskKind
from diwan.store.documents import (
    QUARANTINED,
    NewDocument,
    document_scope,
    documents_of,
    read_document,
)
from diwan.store.intake import upload_document
from diwan.store.tasks import get_task, shown_of
from diwan.web.api import reads
from diwan.web.api.bodies import chunks, expected_size, media_type
from diwan.web.api.callers import Sender, StaffOrSender, Wanted, WorkerOrAuditor, visible_case
from diwan.web.api.case_views import document_view, remedy_of
from diwan.web.api.multipart import read_parts
from diwan.web.api.reads import Reading, Reads
from diwan.web.api.views import DocumentView, Page, UploadedDocument
from diwan.web.dependencies import Deps
from diwan.web.openapi import bodies

router = APIRouter(tags=["documents"])

_OF_EVENTS = (TaskKind.STRAY_EVENT, TaskKind.LATE_EVENT)
PART = "document"
MULTIPART = "multipart/form-data"
_BODY = {
    "schema": {
        "type": "object",
        "required": [PART],
        "properties": {PART: {"type": "string", "format": "binary", "description": "its filename is compared, too"}},
    }
}
BINARY = {200: {"description": "The bytes.", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}}
# What came from outside is opened apart from everything of ours, and runs nothing.
SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"


@router.post(
    "/v1/documents",
    status_code=201,
    summary="Upload a document ahead of the event that will name its `ref`",
    openapi_extra=bodies({MULTIPART: _BODY}),
)
async def upload(request: Request, deps: Deps, actor: Sender, language: Wanted) -> UploadedDocument:
    if media_type(request) != MULTIPART:
        raise UnsupportedMedia("http.media_type", "A document is sent as a part.", f"Send {MULTIPART}.")
    limit = deps.limits.document_bytes + 64 * 1024
    with deps.budget.hold(expected_size(request, limit)):
        content_type = request.headers["content-type"]
        parts = await read_parts(content_type, chunks(request, deps.limits, limit), deps.limits)
        if parts.keys() != {PART}:
            raise InvalidInput("document.part_missing", "One part `document` is expected.", "Send just that.")
        name, data = parts[PART].filename, parts[PART].content
        found = await deps.readers.inspect_document(name, data)
        new = NewDocument(
            name=name,
            data=data,
            media_type=found.media_type,
            status=found.status.value,
            reason=found.reason,
            pages=found.pages,
            flags=found.flags,
        )
        ref = await upload_document(deps.db, deps.keyring, new, client=actor, now=deps.clock())
    return UploadedDocument(
        ref=ref,
        status=found.status.value,
        media_type=found.media_type,
        pages=found.pages,
        reason=found.reason,
        remedy=remedy_of(found.reason, language),
    )


@router.get("/v1/cases/{case}/documents", tags=["cases"], summary="The documents of a case, in the order they came")
async def of_case(
    deps: Deps, actor: StaffOrSender, reading: Reading, language: Wanted, case: str
) -> Page[DocumentView]:
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
    cipher = await deps.cipher(actor.tenant, found.id)
    async with deps.db.transaction(actor.tenant) as conn:
        rows = await documents_of(conn, actor.tenant, found.id, cipher)
        await reading.record(conn, actor, reads.CASE, case=found.id, part="documents")
    return Page(items=[document_view(row, language) for row in rows])


@router.get(
    "/v1/cases/{case}/documents/{document}",
    tags=["cases"],
    summary="A document as it came",
    response_class=Response,
    responses={**BINARY},
)
async def content(deps: Deps, actor: StaffOrSender, reading: Reading, case: str, document: str) -> Response:
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
        if await document_scope(conn, actor.tenant, document) != found.id:
            raise NotFound("document.unknown", "There is no such document.", "Check its id.")
    return await _given_out(reading, actor, document, found.id)


@router.get(
    "/v1/tasks/{task}/documents/{document}",
    tags=["tasks"],
    summary="A document of an event that matches no case, or came late, as it came",
    response_class=Response,
    responses={**BINARY},
)
async def of_task(deps: Deps, actor: WorkerOrAuditor, reading: Reading, task: str, document: str) -> Response:
    async with deps.db.transaction(actor.tenant) as conn:
        row = await get_task(conn, actor.tenant, task)
    cipher = await deps.cipher(actor.tenant, row.scope)
    if row.kind not in _OF_EVENTS or document not in [each["id"] for each in shown_of(row, cipher)["documents"]]:
        raise NotFound("document.unknown", "There is no such document.", "Check its id.")
    async with deps.db.transaction(actor.tenant) as conn:
        # Once a person has found the case of a stray event, its documents are sealed under that case's keys.
        scope = await document_scope(conn, actor.tenant, document, without_case=row.scope)
    return await _given_out(reading, actor, document, scope)


async def _given_out(reading: Reads, actor: Actor, document: str, scope: str) -> Response:
    cipher = await reading.deps.cipher(actor.tenant, scope)
    async with reading.deps.db.transaction(actor.tenant) as conn:
        row, data = await read_document(conn, actor.tenant, document, cipher)
        if row.status == QUARANTINED:
            raise Refused(
                "document.in_quarantine",
                "This document is in quarantine and is not given out.",
                "Its `reason` says what to ask the sender for instead.",
            )
        # The scope of what belongs to no case yet has a slash in it.
        of_case = {} if "/" in scope else {"case": scope}
        await reading.record(conn, actor, reads.DOCUMENT, document=document, **of_case)
    return as_file(data, row.media_type, row.name or f"{row.id}.bin")


def as_file(data: bytes, media_type: str, name: str, *, inline: bool = False) -> Response:
    """Bytes under a name (RFC 6266), in a sandbox of their own."""
    disposition = "inline" if inline else "attachment"
    return Response(
        data,
        media_type=media_type or "application/octet-stream",
        headers={
            "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(name, safe='')}",
            "Content-Security-Policy": SANDBOX,
        },
    )
