"""Owns how the service's answers become errors: RFC 9457 problems to the errors that carry our exit codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from diwan.domain.errors import (
    Conflict,
    DiwanError,
    InvalidInput,
    NotFound,
    Refused,
    Retry,
    TooLarge,
    Unauthenticated,
    UnsupportedMedia,
)

_BY_STATUS: dict[int, type[DiwanError]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: Refused,
    404: NotFound,
    405: InvalidInput,
    406: InvalidInput,
    408: Retry,
    409: Conflict,
    410: NotFound,
    412: Conflict,
    413: TooLarge,
    415: UnsupportedMedia,
    422: InvalidInput,
    425: Retry,
    429: Retry,
    502: Retry,
    503: Retry,
    504: Retry,
}
# A remedy of ours where the service has none to give, above all where the answer is not the service's.
_REMEDIES: dict[type[DiwanError], str] = {
    Unauthenticated: "Name a role with --as ROLE (embedded stack), or give a token in DIWAN_TOKEN or DIWAN_TOKEN_FILE.",
    Retry: "Try again in a few seconds; the same request is safe to repeat.",
    NotFound: "Check the name, and that DIWAN_URL is the address of a Diwan service.",
}
_FIELDS_SHOWN = 20


def problem_of(status: int, body: object) -> DiwanError:
    """The error that an answer of this status and (parsed) body stands for."""
    problem: Mapping[str, Any] = cast("Mapping[str, Any]", body) if isinstance(body, Mapping) else {}
    kind = _BY_STATUS.get(status, DiwanError)
    message = _text(problem, "detail") or _text(problem, "title") or f"The service answered with status {status}."
    remedy = [_text(problem, "remedy") or _REMEDIES.get(kind, ""), *_fields(problem)]
    code = _text(problem, "code") or f"http.{status}"
    return kind(code, message, "\n".join(line for line in remedy if line))


def _text(problem: Mapping[str, Any], name: str) -> str:
    value = problem.get(name)
    return value if isinstance(value, str) else ""


def _fields(problem: Mapping[str, Any]) -> list[str]:
    """One line for each field that is named in `errors` (members `pointer` and `detail`)."""
    listed = problem.get("errors")
    if not isinstance(listed, list):
        return []
    found = [cast("Mapping[str, Any]", item) for item in cast("list[object]", listed) if isinstance(item, Mapping)]
    lines = [f"{_text(item, 'pointer') or '/'}: {_text(item, 'detail')}" for item in found[:_FIELDS_SHOWN]]
    return [*lines, f"... and {len(found) - _FIELDS_SHOWN} more"] if len(found) > _FIELDS_SHOWN else lines
