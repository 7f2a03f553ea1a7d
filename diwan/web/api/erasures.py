"""/v1/erasures, and erasures and legal holds of a case: who asks, who approves, what stops it (docs/erasure.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request

from diwan.domain.actor import Actor
from diwan.domain.erasure import ErasureStatus, Ground
from diwan.domain.ports import Cipher
from diwan.store.cases import numbers_of
from diwan.store.change import Change, change_case
from diwan.store.erasure_lists import list_erasures, list_without_case
from diwan.store.erasures import (
    UNDER_WAY,
    ErasureRow,
    Wanted,
    approve_erasure,
    ask_erasure,
    decline_erasure,
    get_erasure,
)
from diwan.store.holds import lift_hold, place_hold
from diwan.web.api import reads
from diwan.web.api.bodies import read_model
from diwan.web.api.callers import Approver, ApproverOrAuditor, Authority, visible_case
from diwan.web.api.case_views import erasure_view, hold_view
from diwan.web.api.examples import ERASURE, REASON
from diwan.web.api.pages import Cursor, Size
from diwan.web.api.reads import Reading
from diwan.web.api.views import AskErasureBody, ErasureView, HoldView, Page, ReasonBody, ScopeErasureView
from diwan.web.dependencies import Dependencies, Deps
from diwan.web.limits import Limits
from diwan.web.openapi import json_body, reference

router = APIRouter(tags=["erasure"])

Done = TypeVar("Done")


class GroundFilter(StrEnum):
    """A ground, or all those that a person gives."""

    RETENTION = "retention"
    PERSON = "person"
    REQUEST = "request"
    UNLAWFUL = "unlawful"
    ORDER = "order"


@router.get("/v1/erasures", summary="What is to be erased, the oldest first")
async def list_(
    deps: Deps,
    actor: ApproverOrAuditor,
    reading: Reading,
    status: Annotated[ErasureStatus | None, Query(description="those under way where it is absent")] = None,
    ground: Annotated[GroundFilter | None, Query(description="`person`: all but what the schedule proposes")] = None,
    cursor: Cursor = "",
    limit: Size = Limits.page_size,
) -> Page[ErasureView]:
    async with deps.db.transaction(actor.tenant) as conn:
        page = await list_erasures(
            conn,
            actor.tenant,
            UNDER_WAY if status is None else (status,),
            _grounds(ground),
            after=cursor,
            limit=limit,
        )
        numbers = await numbers_of(conn, actor.tenant, {row.case_id for row in page.erasures})
        await reading.record(conn, actor, reads.LIST, of="erasures", found=len(page.erasures))
    return Page(items=[erasure_view(row, numbers[row.case_id]) for row in page.erasures], next=page.next or None)


@router.get(
    "/v1/erasures/without-case",
    summary="What belongs to no case and goes by a rule",
    description="Nobody asks for it or approves it: uploads that no event named, events that were put away, for whom "
    "auditors searched. By scope; what is noted or under way, or with `done` what is gone.",
)
async def without_case(
    deps: Deps,
    actor: ApproverOrAuditor,
    reading: Reading,
    done: Annotated[bool, Query(description="what is gone, in place of what is under way")] = False,
    cursor: Cursor = "",
    limit: Size = Limits.page_size,
) -> Page[ScopeErasureView]:
    async with deps.db.transaction(actor.tenant) as conn:
        rows, after = await list_without_case(conn, actor.tenant, done=done, after=cursor, limit=limit)
        await reading.record(conn, actor, reads.LIST, of="erasures_without_case", found=len(rows))
    return Page(items=[ScopeErasureView(**asdict(row)) for row in rows], next=after or None)


def _grounds(only: GroundFilter | None) -> Collection[Ground]:
    if only is None:
        return tuple(Ground)
    if only is GroundFilter.PERSON:
        return [ground for ground in Ground if ground is not Ground.RETENTION]
    return (Ground(only.value),)


@router.post(
    "/v1/cases/{case}/erasures",
    status_code=201,
    summary="Ask for a closed case's data to be erased; another person approves it",
    description="The same again by the same person gives the one that is under way. On the ledger, the reason sealed.",
    openapi_extra=json_body(reference(AskErasureBody), ERASURE),
)
async def ask(request: Request, deps: Deps, actor: Approver, case: str) -> ErasureView:
    given = await read_model(request, AskErasureBody, deps.limits)
    wanted = Wanted(given.classes, given.ground, given.legal_basis, given.reason)
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
    row = await _changed(deps, actor, found.id, lambda change, cipher: ask_erasure(change, cipher, actor, wanted))
    return erasure_view(row, found.number)


@router.post(
    "/v1/erasures/{erasure}/approval",
    summary="Approve it: within a minute the keys are destroyed, and nothing brings the data back",
    description="By another person than who asked. Refused while a legal hold is on the case.",
)
async def approve(deps: Deps, actor: Approver, erasure: str) -> ErasureView:
    return await _decided(deps, actor, erasure, lambda change, cipher: approve_erasure(change, cipher, actor, erasure))


@router.post(
    "/v1/erasures/{erasure}/refusal",
    summary="Decline it, for a reason",
    description="What retention proposed is proposed again after 90 days; what must stay longer needs a legal hold.",
    openapi_extra=json_body(reference(ReasonBody), REASON),
)
async def decline(request: Request, deps: Deps, actor: Approver, erasure: str) -> ErasureView:
    given = await read_model(request, ReasonBody, deps.limits)
    return await _decided(
        deps, actor, erasure, lambda change, cipher: decline_erasure(change, cipher, actor, erasure, given.reason)
    )


@router.post(
    "/v1/cases/{case}/holds",
    status_code=201,
    summary="Put a legal hold on a case: nothing of it is erased until it is lifted",
    openapi_extra=json_body(reference(ReasonBody), REASON),
)
async def place(request: Request, deps: Deps, actor: Authority, case: str) -> HoldView:
    given = await read_model(request, ReasonBody, deps.limits)
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
    row = await _changed(deps, actor, found.id, lambda change, cipher: place_hold(change, cipher, actor, given.reason))
    return hold_view(row)


@router.post(
    "/v1/cases/{case}/holds/{hold}/lifting",
    summary="Lift a legal hold",
    openapi_extra=json_body(reference(ReasonBody), REASON),
)
async def lift(request: Request, deps: Deps, actor: Authority, case: str, hold: str) -> HoldView:
    given = await read_model(request, ReasonBody, deps.limits)
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, case)
    row = await _changed(
        deps, actor, found.id, lambda change, cipher: lift_hold(change, cipher, actor, hold, given.reason)
    )
    return hold_view(row)


async def _decided(
    deps: Dependencies, actor: Actor, erasure: str, act: Callable[[Change, Cipher], Awaitable[ErasureRow]]
) -> ErasureView:
    async with deps.db.transaction(actor.tenant) as conn:
        case = (await get_erasure(conn, actor.tenant, erasure)).case_id
        number = (await numbers_of(conn, actor.tenant, {case}))[case]
    return erasure_view(await _changed(deps, actor, case, act), number)


async def _changed(
    deps: Dependencies, actor: Actor, case: str, act: Callable[[Change, Cipher], Awaitable[Done]]
) -> Done:
    """One change of the case, under its lock; the key that seals why is fetched before."""
    cipher = await deps.cipher(actor.tenant, case)
    now = await deps.stamp(actor.tenant)
    async with deps.db.transaction(actor.tenant) as conn, change_case(conn, actor.tenant, case, now=now) as change:
        return await act(change, cipher)
