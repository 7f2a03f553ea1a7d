"""/v1/pool: the hosts of the pool, what they carry, and how long the ministry's agents wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from diwan.store.pool_hosts import SERVING, HostRow, hosts, waiting
from diwan.web.api.callers import Operator
from diwan.web.dependencies import Deps

router = APIRouter(prefix="/v1/pool", tags=["pool"])

# A host gives a sign of life every three seconds. One that gave none for a day is no host any more.
SILENT_AFTER_S = 20.0
_SHOWN_S = 86_400.0


class HostView(BaseModel):
    """A host: `state` is serving, out (for `reason`), ended, or silent: no sign of life for 20 seconds.

    `room`: calls that it takes now, at most `most`; `calls`: ours that run; `running`, `waiting`: the engine's, of
    whoever asks it; `kv_used`: share of its cache in use; `prefix_…`: tokens since the engine started; `…_digest`: of
    its model, as registered there; `batch_invariant`: yes, no or unknown, whether that mode is on; `clock_off_s`: how
    far its own clock is ahead of the database's, by which it goes.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    model: str
    version: str
    state: str
    reason: str
    since: datetime
    unseen_s: float
    room: int
    most: int
    calls: int
    running: int
    waiting: int
    kv_used: float
    prefix_queries: int
    prefix_hits: int
    weights_digest: str
    tokenizer_digest: str
    batch_invariant: str
    clock_off_s: float


class ModelLoad(BaseModel):
    """Of its hosts that serve: how many, their room, our calls, the share of tokens that their caches had (0 to 1)."""

    model: str
    hosts: int
    serving: int
    room: int
    calls: int
    prefix_hit_share: float | None


class WaitingView(BaseModel):
    """Agent runs of the caller's ministry that go on and have no call under way; how long the oldest has waited."""

    tenant: str
    runs: int
    oldest_s: float


class PoolView(BaseModel):
    hosts: list[HostView]
    models: list[ModelLoad]
    waiting: list[WaitingView]


@router.get("", summary="Hosts, models, load, prefix hits, and how long agents wait")
async def show(deps: Deps, actor: Operator) -> PoolView:
    async with deps.db.transaction(actor.tenant) as conn:
        rows = await hosts(conn, seen_within_s=_SHOWN_S)
        waits = await waiting(conn, actor.tenant, deps.clock())
    views = [_host(row) for row in rows]
    return PoolView(
        hosts=views,
        models=_models(views),
        waiting=[WaitingView(tenant=actor.tenant, runs=waits.runs, oldest_s=round(waits.oldest_s, 1))],
    )


def _host(row: HostRow) -> HostView:
    silent = row.state == SERVING and row.unseen_s > SILENT_AFTER_S
    said: dict[str, Any] = {name: getattr(row, name) for name in HostRow.__dataclass_fields__}
    said |= {"state": "silent" if silent else row.state, "unseen_s": round(row.unseen_s, 1)}
    return HostView(**said)


def _models(views: Sequence[HostView]) -> list[ModelLoad]:
    found: dict[str, list[HostView]] = {}
    for view in views:
        found.setdefault(view.model, []).append(view)
    return [_load(model, of) for model, of in found.items()]


def _load(model: str, of: Sequence[HostView]) -> ModelLoad:
    serving = [view for view in of if view.state == SERVING]
    queries = sum(view.prefix_queries for view in serving)
    return ModelLoad(
        model=model,
        hosts=len(of),
        serving=len(serving),
        room=sum(view.room for view in serving),
        calls=sum(view.calls for view in serving),
        prefix_hit_share=round(sum(view.prefix_hits for view in serving) / queries, 3) if queries else None,
    )
