"""Whether the process lives, and whether it can do its work. Open to anyone: says which part, never why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import text

from diwan.store.database import Database
from diwan.web.dependencies import Dependencies, Deps

router = APIRouter(tags=["health"])
log = structlog.get_logger()

_PATIENCE_S = 3.0
_KEPT = timedelta(seconds=1)


class Readiness(BaseModel):
    """`parts`: database, vault, issuer → whether it answers."""

    ready: bool
    parts: dict[str, bool]


class LastAnswer:
    """Keeps an answer for a second: anybody may ask, so the asking must not become work for the parts."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._kept: tuple[datetime, Readiness] | None = None

    async def readiness(self, deps: Dependencies) -> Readiness:
        """Who comes while the parts are asked waits for that answer."""
        async with self._turn:
            # A clock that was set back makes it old too.
            if self._kept is None or not timedelta(0) <= deps.clock() - self._kept[0] < _KEPT:
                asked = await _ask(deps)
                self._kept = (deps.clock(), asked)
            return self._kept[1]


def _last_answer(request: Request) -> LastAnswer:
    kept: LastAnswer = request.app.state.last_readiness
    return kept


@router.get("/healthz", summary="The process lives")
async def healthz() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/readyz", summary="Every part that is needed answers", responses={503: {"model": Readiness}})
async def readyz(deps: Deps, last: Annotated[LastAnswer, Depends(_last_answer)]) -> JSONResponse:
    answer = await last.readiness(deps)
    return JSONResponse(
        answer.model_dump(),
        status_code=200 if answer.ready else 503,
        headers={} if answer.ready else {"Retry-After": "2"},
    )


async def _ask(deps: Dependencies) -> Readiness:
    asked = {"database": _database(deps.db), **{name: probe() for name, probe in deps.probes.items()}}
    answers = await asyncio.gather(*(_answers(name, probe) for name, probe in asked.items()))
    return Readiness(ready=all(answers), parts=dict(zip(asked, answers, strict=True)))


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
