"""The outermost layer: refuses by headers, catches what nothing else caught, sets security headers, logs accesses.

Nothing of an address but the route's template, nothing of a body and no header is ever logged.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from urllib.parse import unquote_plus

import structlog
from fastapi import Request
from fastapi_problem.handler import ExceptionHandler
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import clear_contextvars

from diwan import metrics
from diwan.domain.errors import InvalidInput
from diwan.tracing import names, spans
from diwan.tracing.context import usable_traceparent
from diwan.web.api.bodies import check_headers
from diwan.web.api.strict_json import unprintable
from diwan.web.limits import Limits
from diwan.web.problems import respond, route_of

log = structlog.get_logger()

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET = frozenset({"/healthz", "/readyz"})
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware; `handler` makes problems of errors."""

    def __init__(self, app: ASGIApp, *, handler: ExceptionHandler, limits: Limits) -> None:
        self._app = app
        self._handler = handler
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, began = Request(scope), time.monotonic()
        clear_contextvars()
        with spans.request(_method(request), sender=usable_traceparent(request.headers.get("traceparent", ""))) as work:
            status = await self._answered(request, receive, send)
            _tell(request, status, time.monotonic() - began, work)

    async def _answered(self, request: Request, receive: Receive, send: Send) -> int:
        scope, status = request.scope, 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            _check_address(request)
            check_headers(request, self._limits.largest_body)
            await self._app(scope, receive, guarded)
        except Exception as error:  # whatever it is: the caller gets a problem and the log no personal data
            response = respond(self._handler, request, error)
            if status == 0:
                await response(scope, receive, guarded)
        return status


def _method(request: Request) -> str:
    return request.method if request.method in _METHODS else "other"


def _tell(request: Request, status: int, seconds: float, work: spans.Work) -> None:
    """The log, the figures and the span of a request, by its route's template."""
    method, route = _method(request), route_of(request)
    if route in _QUIET:
        work.drop()
    else:
        work.context()  # so that the log line has its trace, whether or not a case was found
    work.name = f"{method} {route}" if route else method
    work.say({names.METHOD: method, names.ROUTE: route, names.STATUS: status})
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        work.say({names.ERROR: str(status)})
    metrics.HTTP_REQUESTS.add(1, method, route, str(status))
    metrics.HTTP_SECONDS.observe(seconds, route)
    write = log.debug if route in _QUIET else log.info
    write("http.answered", method=method, route=route, status=status, ms=round(seconds * 1000, 1))


def _check_address(request: Request) -> None:
    """No name in an address has control characters, and the database refuses a NUL with an error of its own."""
    query = bytes(request.scope["query_string"]).decode("latin-1")
    if unprintable(str(request.scope["path"])) or unprintable(unquote_plus(query)):
        raise InvalidInput("http.address_unprintable", "The address holds control characters.", "Remove them.")
