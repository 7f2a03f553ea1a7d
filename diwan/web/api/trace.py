"""GET /v1/cases/{case}/trace: the way of one case, step by step, with times, tokens, attempts and deliveries."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from diwan.store.way import Line, ModelCallLine, Way, way_of
from diwan.web.api import reads
from diwan.web.api.callers import Staff, visible_case
from diwan.web.api.reads import Reading
from diwan.web.dependencies import Deps

router = APIRouter(prefix="/v1/cases", tags=["cases"])


class ModelCallView(BaseModel):
    """One attempt of a model call; `seconds` is None while nothing has ended it."""

    call: int
    attempt: int
    model: str
    engine: str
    status: str
    used: bool
    started_at: datetime
    seconds: float | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class DeliveryView(BaseModel):
    """One event on its way to one webhook. `status` is the last answer; `next_at` when it is tried again."""

    id: str
    type: str
    webhook: str
    attempts: int
    status: str
    delivered_at: datetime | None
    next_at: datetime | None


class WayLine(BaseModel):
    """One change, as its ledger entry says. `effect_after_s`: how long an accepted event waited for its effect."""

    seq: int
    at: datetime
    kind: str
    actor_kind: str
    actor: str
    detail: dict[str, Any]
    effect_after_s: float | None
    model_call: ModelCallView | None
    deliveries: list[DeliveryView]


class VisitView(BaseModel):
    """What happened while the case was at one visit of a step."""

    step: str
    visit: int
    began_at: datetime
    seconds: float
    lines: list[WayLine]


class CaseTrace(BaseModel):
    """`trace_id` is what to look for in a trace viewer; empty for a case that nobody traced. `rings`: since the last
    new event, `rung_at` the last one; `unanswered`: model calls without an answer on record."""

    case: str
    number: str
    trace_id: str
    status: str
    step: str
    blocked: str
    rings: int
    rung_at: datetime | None
    visits: list[VisitView]
    unanswered: list[ModelCallView]


@router.get("/{case}/trace", summary="The way of the case: steps, calls, acts, letters and deliveries with their times")
async def show(deps: Deps, actor: Staff, reading: Reading, case: str) -> CaseTrace:
    async with deps.db.transaction(actor.tenant, snapshot=True) as conn:
        found = await visible_case(conn, actor, case)
        way = await way_of(conn, found)
    await reading.record_apart(actor, reads.CASE, case=found.id, part="trace")
    return CaseTrace(
        case=found.id,
        number=found.number,
        trace_id=way.trace_id,
        status=found.status.value,
        step=found.state.step,
        blocked=found.blocked,
        rings=way.rings,
        rung_at=way.rung_at,
        visits=_visits(way),
        unanswered=[_call(call) for call in way.unanswered],
    )


def _visits(way: Way) -> list[VisitView]:
    grouped = groupby(way.lines, key=lambda line: (line.header.get("step", ""), line.header.get("visit", 0)))
    made: list[VisitView] = []
    for (step, visit), lines in ((place, list(lines)) for place, lines in grouped):
        first, last = lines[0].entry.at, lines[-1].entry.at
        seconds = (last - first).total_seconds()
        made.append(
            VisitView(step=step, visit=visit, began_at=first, seconds=seconds, lines=[_line(line) for line in lines])
        )
    return made


def _line(line: Line) -> WayLine:
    header, entry = line.header, line.entry
    waited = (line.effect_at - entry.at).total_seconds() if line.effect_at else None
    return WayLine(
        seq=entry.seq,
        at=entry.at,
        kind=entry.kind,
        actor_kind=header["actor"]["kind"],
        actor=header["actor"]["subject"],
        detail=header.get("detail", {}),
        effect_after_s=waited,
        model_call=_call(line.call) if line.call else None,
        deliveries=[
            DeliveryView(
                id=each.id,
                type=each.type,
                webhook=each.webhook,
                attempts=each.attempts,
                status=each.status,
                delivered_at=each.delivered_at,
                next_at=each.next_at,
            )
            for each in line.deliveries
        ],
    )


def _call(call: ModelCallLine) -> ModelCallView:
    tokens = {name: call.usage.get(name, 0) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")}
    return ModelCallView(
        call=call.call,
        attempt=call.attempt,
        model=call.model,
        engine=call.engine,
        status=call.status,
        used=call.used,
        started_at=call.started_at,
        seconds=(call.ended_at - call.started_at).total_seconds() if call.ended_at else None,
        **tokens,
    )
