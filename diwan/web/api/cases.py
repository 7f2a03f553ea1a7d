"""/v1/cases: find cases, read one, its events and its story."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query

from diwan.domain.case import CaseStatus
from diwan.store.cases import list_cases
from diwan.store.entries import EntryRow, entries_of
from diwan.store.inbox import events_of
from diwan.web.api import reads
from diwan.web.api.callers import Staff, StaffOrSender, Wanted, is_staff, visible_case, visible_sources
from diwan.web.api.case_views import read_case, summary
from diwan.web.api.pages import Cursor, Size
from diwan.web.api.reads import Reading
from diwan.web.api.views import CaseSummary, CaseView, EventView, Page, StoryLine
from diwan.web.dependencies import Deps
from diwan.web.limits import Limits

router = APIRouter(prefix="/v1/cases", tags=["cases"])

StatusFilter = Annotated[CaseStatus | None, Query(description="only cases of this status")]


@router.get("", summary="Cases, the newest first")
async def list_(
    deps: Deps,
    actor: StaffOrSender,
    reading: Reading,
    status: StatusFilter = None,
    procedure: Annotated[str, Query(max_length=80)] = "",
    cursor: Cursor = "",
    limit: Size = Limits.page_size,
) -> Page[CaseSummary]:
    async with deps.db.transaction(actor.tenant) as conn:
        page = await list_cases(
            conn,
            actor.tenant,
            status=status,
            procedure=procedure or None,
            sources=await visible_sources(conn, actor),
            after=cursor,
            limit=limit,
        )
        await reading.record(conn, actor, reads.LIST, of="cases", found=len(page.cases))
    return Page(items=[summary(case, staff=is_staff(actor)) for case in page.cases], next=page.next or None)


@router.get("/{case}", summary="One case, by id or number")
async def show(deps: Deps, actor: StaffOrSender, reading: Reading, language: Wanted, case: str) -> CaseView:
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
    return await read_case(reading, actor, found, language)


@router.get("/{case}/events", summary="What came in about the case, in order, and when it took effect")
async def events(deps: Deps, actor: StaffOrSender, reading: Reading, case: str) -> Page[EventView]:
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
        rows = await events_of(conn, actor.tenant, found.id)
        sources = await visible_sources(conn, actor)
        await reading.record(conn, actor, reads.CASE, case=found.id, part="events")
    return Page(
        items=[
            EventView(
                inbox_seq=row.inbox_seq,
                source=row.source,
                id=row.event_id,
                type=row.type,
                accepted_at=row.accepted_at,
                consumed_at=row.consumed_at,
            )
            for row in rows
            if sources is None or row.source in sources
        ]
    )


@router.get("/{case}/story", summary="Every entry of the ledger about the case, in order")
async def story(
    deps: Deps,
    actor: Staff,
    reading: Reading,
    case: str,
    cursor: Annotated[int, Query(ge=0, le=2**53, description="`next` of the page before")] = 0,
    limit: Size = Limits.page_size_max,
) -> Page[StoryLine]:
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
        rows = await entries_of(conn, actor.tenant, found.id, after=cursor, limit=limit + 1)
        await reading.record(conn, actor, reads.CASE, case=found.id, part="story")
    lines = [_line(row) for row in rows[:limit]]
    return Page(items=lines, next=str(lines[-1].seq) if len(rows) > limit else None)


def _line(row: EntryRow) -> StoryLine:
    header = orjson.loads(row.header)
    return StoryLine(
        seq=row.seq,
        at=row.at,
        kind=row.kind,
        actor_kind=header["actor"]["kind"],
        actor=header["actor"]["subject"],
        step=header.get("step", ""),
        visit=header.get("visit", 0),
        detail=header.get("detail", {}),
        hash=row.hash.hex(),
    )
