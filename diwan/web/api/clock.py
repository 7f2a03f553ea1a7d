"""/v1/clock: whether the ministry's legal dates fall or stand still, and a person's word that they may fall again."""

from __future__ import annotations

from fastapi import APIRouter, Request

from diwan.domain.actor import Actor
from diwan.store.clock_watch import CHAIN, unsure_cases
from diwan.web.api.bodies import read_model
from diwan.web.api.callers import StaffOrOperator, Supervisor
from diwan.web.api.examples import CLOCK
from diwan.web.api.views import ClockBody, ClockView
from diwan.web.dependencies import Dependencies, Deps
from diwan.web.openapi import json_body, reference

router = APIRouter(prefix="/v1/clock", tags=["clock"])


@router.get("", summary="The service's time, and whether legal dates stand still because it jumped")
async def show(deps: Deps, actor: StaffOrOperator) -> ClockView:
    return await _view(deps, actor)


@router.post(
    "/confirmation",
    summary="A person has compared the time: legal dates fall again",
    description="Names the freeze that was shown by its `since`. On the ledger, with the reason sealed.",
    openapi_extra=json_body(reference(ClockBody), CLOCK),
)
async def confirm(request: Request, deps: Deps, actor: Supervisor) -> ClockView:
    given = await read_model(request, ClockBody, deps.limits)
    cipher = await deps.cipher(actor.tenant, CHAIN)
    async with deps.db.transaction(actor.tenant) as conn:
        await deps.watch.confirm(conn, actor, given.finding, given.since, given.reason, cipher)
    return await _view(deps, actor)


async def _view(deps: Dependencies, actor: Actor) -> ClockView:
    async with deps.db.transaction(actor.tenant) as conn:
        now, standing = await deps.watch.read(conn, actor.tenant)
        cases = await unsure_cases(conn, actor.tenant)
    return ClockView(
        now=now,
        frozen=standing.frozen,
        since=standing.frozen_at,
        stands_at=standing.stands_at,
        why=standing.why,
        off_s=round(standing.off.total_seconds()),
        cases=cases,
    )
