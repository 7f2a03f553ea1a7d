"""The letters of a case: their list, the PDFs, and the numbered receipt as JSON or PDF."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from diwan.documents.check_sheet import sheet_of
from diwan.documents.typeset import render_sheet
from diwan.domain.actor import Actor
from diwan.domain.case import CaseStatus
from diwan.domain.errors import Erased, NotFound, Unavailable
from diwan.domain.ports import Cipher
from diwan.store.change import CaseRow
from diwan.store.letters import LetterRow, letters_of, read_letter
from diwan.store.notifications import notifications_of
from diwan.store.receipts import read_receipt
from diwan.web.api import reads
from diwan.web.api.callers import StaffOrSender, visible_case
from diwan.web.api.case_views import letter_address, letter_views
from diwan.web.api.documents import as_file
from diwan.web.api.reads import Reading
from diwan.web.api.views import LetterView, Page, ReceiptView
from diwan.web.dependencies import Dependencies, Deps
from diwan.web.openapi import reference

router = APIRouter(prefix="/v1/cases/{case}", tags=["letters"])

PDF = "application/pdf"
_CONTENT: dict[str, object] = {"type": "object", "description": "what the letter says, before it is set"}
_PDF_CONTENT = {PDF: {"schema": {"type": "string", "format": "binary"}}}
Parts = Literal["json", "pdf", "sheet"] | None
Format = Annotated[
    Literal["json", "pdf"] | None,
    Query(alias="format", description="what `Accept` asks for where it is absent; else JSON"),
]


@router.get("/letters", summary="The letters that went out about the case")
async def of_case(deps: Deps, actor: StaffOrSender, reading: Reading, case: str) -> Page[LetterView]:
    found, cipher = await _open(deps, actor, case)
    async with deps.db.transaction(actor.tenant) as conn:
        letters = await letters_of(conn, actor.tenant, found.id, cipher)
        await reading.record(conn, actor, reads.CASE, case=found.id, part="letters")
        return Page(items=letter_views(letters, await notifications_of(conn, actor.tenant, found.id)))


# A letter's id is the key of the step that made it and has slashes in it.
@router.get(
    "/letters/{letter:path}",
    summary="A letter as PDF, or with `format` the content it was set from (json), its verification sheet (sheet)",
    response_class=Response,
    responses={
        200: {"description": "The letter.", "content": {**_PDF_CONTENT, "application/json": {"schema": _CONTENT}}}
    },
)
async def pdf(
    deps: Deps,
    actor: StaffOrSender,
    reading: Reading,
    case: str,
    letter: str,
    wanted: Annotated[Parts, Query(alias="format")] = None,
) -> Response:
    found, cipher = await _open(deps, actor, case)
    async with deps.db.transaction(actor.tenant) as conn:
        if letter not in (row.id for row in await letters_of(conn, actor.tenant, found.id, cipher)):
            raise NotFound("letter.unknown", "The case has no such letter.", "See its letters.")
        row, data = await read_letter(conn, actor.tenant, letter, cipher)
        receipt = await read_receipt(conn, actor.tenant, letter, cipher) if wanted == "sheet" else None
        await reading.record(conn, actor, reads.LETTER, case=found.id, letter=letter)
    if receipt is not None:
        sheet = sheet_of(receipt, str(row.content.get("check_at", "")))
        return as_file(await render_sheet(sheet), PDF, f"{row.number}-verification.pdf", inline=True)
    return JSONResponse(row.content) if wanted == "json" else _as_pdf(row, data)


@router.get(
    "/receipt",
    summary="The numbered receipt: JSON, or PDF by `Accept` or `format`",
    response_model=ReceiptView,
    responses={200: {"content": {"application/json": {"schema": reference(ReceiptView)}, **_PDF_CONTENT}}},
)
async def receipt(
    request: Request,
    deps: Deps,
    actor: StaffOrSender,
    reading: Reading,
    case: str,
    wanted: Annotated[Format, Query(alias="format")] = None,
) -> Response:
    found, cipher = await _open(deps, actor, case)
    async with deps.db.transaction(actor.tenant) as conn:
        letters = await letters_of(conn, actor.tenant, found.id, cipher)
        row = next((each for each in letters if each.kind == "receipt"), None)
        if row is None:
            raise _none_yet(found)
        await reading.record(conn, actor, reads.LETTER, case=found.id, letter=row.id)
        if wanted == "pdf" or (wanted is None and _prefers_pdf(request)):
            return _as_pdf(*await read_letter(conn, actor.tenant, row.id, cipher))
    if not row.content:
        raise Erased("receipt.erased", "The receipt is erased.", "The applicant has it.")
    view = ReceiptView(
        case=found.id,
        number=row.number,
        letter=row.id,
        address=letter_address(row),
        language=row.language,
        made_at=row.made_at,
        content=row.content,
    )
    return JSONResponse(view.model_dump(mode="json"))


async def _open(deps: Dependencies, actor: Actor, key: str) -> tuple[CaseRow, Cipher]:
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, key)
    return found, await deps.cipher(actor.tenant, found.id)


def _none_yet(case: CaseRow) -> NotFound | Unavailable:
    if case.status is CaseStatus.CLOSED:
        return NotFound("receipt.none", "This case ended without a receipt.", "See its story.")
    return Unavailable("receipt.not_made_yet", "The receipt is being made.", "Ask again in a few seconds.")


def _prefers_pdf(request: Request) -> bool:
    accepted = [each.partition(";")[0].strip().lower() for each in request.headers.get("accept", "").split(",")]
    return PDF in accepted and "application/json" not in accepted


def _as_pdf(row: LetterRow, data: bytes) -> Response:
    return as_file(data, PDF, f"{row.number}.pdf", inline=True)
