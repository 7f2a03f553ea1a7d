"""Every error leaves as a problem (RFC 9457): what is wrong, what to do, and nothing of what was sent.

`type` is `urn:diwan:problem:<code>`; `code`, `remedy`, `disposition` and `errors` are extension members.
docs/api.md lists the codes.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi_problem.error import Problem
from fastapi_problem.handler import ExceptionHandler
from rfc9457 import Problem as AnyProblem
from starlette.exceptions import HTTPException
from starlette.responses import Response

from diwan.domain.errors import Disposition, DiwanError, Retry, Unauthenticated
from diwan.web.api.fields import InvalidFields

MEDIA_TYPE = "application/problem+json"
TYPE_TEMPLATE = "urn:diwan:problem:{type}"
_RETRY_AFTER = "5"

log = structlog.get_logger()


def problem_of(error: DiwanError) -> Problem:
    """The problem that a caller gets for an error of ours."""
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, Retry):
        # What is broken inside is for the log and the operator; the caller can do nothing with it.
        return internal(error.code, error.disposition)
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="diwan", error="invalid_token"'
    if isinstance(error, Retry):
        headers["Retry-After"] = _RETRY_AFTER
    extras: dict[str, Any] = {"code": error.code, "disposition": error.disposition.value}
    if error.remedy:
        extras["remedy"] = error.remedy
    if isinstance(error, InvalidFields):
        extras["errors"] = [{"pointer": field.pointer, "detail": field.detail} for field in error.fields]
    return Problem(
        HTTPStatus(error.status).phrase,
        type_=error.code,
        detail=error.message,
        status=error.status,
        headers=headers,
        **extras,
    )


def internal(code: str = "http.internal", disposition: Disposition = Disposition.PERSON) -> Problem:
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR.phrase,
        type_=code,
        detail="The service could not do this.",
        status=HTTPStatus.INTERNAL_SERVER_ERROR,
        code=code,
        disposition=disposition.value,
        remedy="Send the same request again later; if it fails again, tell the operator the time and this code.",
    )


def problem_handler() -> ExceptionHandler:
    """Makes the answer to an error of ours, of the framework, or a problem."""
    return ExceptionHandler(
        handlers={
            DiwanError: _diwan_error,
            HTTPException: _http_error,
            RequestValidationError: _validation_error,
        },
        documentation_uri_template=TYPE_TEMPLATE,
    )


def marshal(error: DiwanError) -> dict[str, Any]:
    """The problem as JSON, for an answer that holds several."""
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("http.request_failed", code=error.code)
    return problem_of(error).marshal(uri=TYPE_TEMPLATE)


def respond(handler: ExceptionHandler, request: Request, error: Exception) -> Response:
    """The answer to any exception. One that is not ours is logged by its type and place, never by its text."""
    if isinstance(error, DiwanError | HTTPException | RequestValidationError | AnyProblem):
        return handler(request, error)
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    log.error("http.request_failed", error=type(error).__name__, where=where)
    return handler(request, internal())


def _diwan_error(_: ExceptionHandler, request: Request, error: DiwanError) -> Problem:
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("http.request_failed", code=error.code, route=route_of(request))
    return problem_of(error)


def _http_error(_: ExceptionHandler, __: Request, error: HTTPException) -> Problem:
    remedies = {
        HTTPStatus.NOT_FOUND: ("http.no_such_address", "See /openapi.json for the addresses there are."),
        HTTPStatus.METHOD_NOT_ALLOWED: ("http.method_not_allowed", "See the header Allow."),
    }
    status = HTTPStatus(error.status_code)
    code, remedy = remedies.get(status, ("http.refused", "See /openapi.json."))
    return Problem(
        status.phrase,
        type_=code,
        detail=f"{status.description or status.phrase}.",
        status=status,
        headers=dict(error.headers or {}),
        code=code,
        disposition=Disposition.FINAL.value,
        remedy=remedy,
    )


def _validation_error(_: ExceptionHandler, __: Request, error: RequestValidationError) -> Problem:
    # FastAPI's errors repeat the input; only the place and pydantic's sentence go out.
    errors = [
        {
            "parameter": str(found["loc"][-1]),
            "in": str(found["loc"][0]),
            "detail": f"{found['loc'][-1]}: {found['msg']}",
        }
        for found in error.errors()
    ]
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY.phrase,
        type_="http.parameter_invalid",
        detail="A parameter of the address or a header is not as described in /openapi.json.",
        status=HTTPStatus.UNPROCESSABLE_ENTITY,
        code="http.parameter_invalid",
        disposition=Disposition.FINAL.value,
        remedy="Correct the parameters listed under `errors`.",
        errors=errors,
    )


def route_of(request: Request) -> str:
    """The route's template (`/v1/cases/{case}`), which holds no value that was sent."""
    return str(getattr(request.scope.get("route"), "path", ""))
