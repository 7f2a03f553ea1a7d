"""Whether the process lives, and whether it can do its work. Open to anyone: says which part, never why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import text

from diwan.store.database import Database
from diwan.web.dependencies import Deps

router = APIRouter(tags=["health"])
log = structlog.get_logger()

_PATIENCE_S = 3.0


class Readiness(BaseModel):
    """`parts`: database, vault, issuer → whether it answers."""

    ready: bool
    parts: dict[str, bool]


@router.get("/healthz", summary="The process lives")
async def healthz() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/readyz", summary="Every part that is needed answers", responses={503: {"model": Readiness}})
async def readyz(deps: Deps) -> JSONResponse:
    asked = {"database": _database(deps.db), **{name: probe() for name, probe in deps.probes.items()}}
    answers = await asyncio.gather(*(_answers(name, probe) for name, probe in asked.items()))
    parts = dict(zip(asked, answers, strict=True))
    ready = all(answers)
    return JSONResponse(
        Readiness(ready=ready, parts=parts).model_dump(),
        status_code=200 if ready else 503,
        headers={} if ready else {"Retry-After": "2"},
    )


async def _database(db: Database) -> None:
    async with db.transaction(None) as conn:
        await conn.execute(text("SELECT version_num FROM alembic_version"))


async def _answers(name: str, probe: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await probe
    except Exception as error:  # whatever is wrong with it, the part cannot be used now
        log.warning("web.part_not_ready", part=name, error=type(error).__name__)
        return False
    return True
