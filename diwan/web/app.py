"""Makes the HTTP application: routes, problems, description, the guard around all of it."""

from __future__ import annotations

from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from fastapi_problem.error import Problem
from starlette.exceptions import HTTPException
from starlette.responses import Response

import diwan
from diwan.domain.errors import DiwanError
from diwan.web import health, ledger, receipts
from diwan.web.api import (
    bundles,
    cases,
    clock,
    documents,
    entries,
    erasures,
    events,
    explanations,
    letters,
    past,
    pool,
    procedures,
    reruns,
    tasks,
    trace,
)
from diwan.web.dependencies import Dependencies
from diwan.web.guard import Guard
from diwan.web.openapi import describe
from diwan.web.problems import problem_handler, route_of
from diwan.web.refusals import RefusalRecorder

log = structlog.get_logger()

_ABOUT = (
    "Intake of events, cases, tasks and procedures of one or more ministries. Every error is a problem (RFC 9457) "
    "with a stable `code` and a `remedy`. docs/api.md tells the whole story."
)
_ROUTERS = (
    events.router,
    documents.router,
    cases.router,
    trace.router,
    past.router,
    explanations.router,
    reruns.router,
    bundles.router,
    entries.router,
    letters.router,
    tasks.router,
    procedures.router,
    erasures.router,
    clock.router,
    pool.router,
)
# FastAPI's own telemetry would log the text of exceptions and put addresses on spans.
_NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False)


def create_app(deps: Dependencies) -> FastAPI:
    """The application; `deps` are whoever made them's to close."""
    app = FastAPI(
        title="Diwan",
        version=diwan.__version__,
        summary="Casework for government back-offices",
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    app.state.dependencies = deps
    app.state.verifier = deps.verifier
    app.state.last_readiness = health.LastAnswer()
    app.state.refusals = RefusalRecorder(deps.db, deps.clock, deps.limits.refusals_per_minute)
    app.state.receipts = receipts.Bound(deps.clock, deps.limits.receipts_per_minute)
    for router in _ROUTERS:
        app.include_router(router)
    app.include_router(ledger.router)
    app.include_router(receipts.router)
    app.include_router(health.router)
    app.openapi = lambda: describe(app)
    handler = problem_handler()

    async def answer(request: Request, error: Exception) -> Response:
        response = handler(request, error)
        await _put_on_record(request, error)
        return response

    for kind in (DiwanError, HTTPException, RequestValidationError, Problem):
        app.add_exception_handler(kind, answer)
    app.add_middleware(Guard, handler=handler, limits=deps.limits)
    return app


async def _put_on_record(request: Request, error: Exception) -> None:
    """What a known caller was refused, unless it is on record already (by the gate, or by the use case)."""
    actor = getattr(request.state, "actor", None)
    if actor is None or getattr(request.state, "on_record", False) or not isinstance(error, DiwanError):
        return
    if error.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT):
        return
    route = f"{request.method} {route_of(request)}"
    try:
        await request.app.state.refusals(actor, error.code, route)
    except DiwanError as failure:  # it is refused all the same
        log.error("web.refusal_unrecorded", code=error.code, route=route, error=failure.code)
