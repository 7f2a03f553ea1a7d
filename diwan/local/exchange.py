"""What such a service answers where it cannot, and how its client reads that."""

from __future__ import annotations

from typing import TypeVar

import httpx
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from diwan.domain import errors
from diwan.domain.errors import DiwanError, InvalidInput, TooLarge, Unavailable
from diwan.local import address

log = structlog.get_logger()

Answer = TypeVar("Answer", bound=BaseModel)

# Passed on by name; anything else that is wrong between the two is no fault of whoever calls the client.
_PASSED_ON = ("NotFound", "InvalidInput", "TooLarge", "Tampered", "NeedsPerson", "Conflict")


class Problem(BaseModel):
    """An error: its class in domain/errors.py, and what it says. Sent with the class's HTTP status."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    error: str
    code: str
    message: str
    remedy: str


async def problem(request: Request, error: Exception) -> Response:
    """Handler for an application's `exception_handlers`."""
    if not isinstance(error, DiwanError):
        raise error
    if error.status >= 500:
        log.error("request.failed", code=error.code, path=request.url.path)
    said = Problem(error=type(error).__name__, code=error.code, message=error.message, remedy=error.remedy)
    return Response(said.model_dump_json(), error.status, media_type="application/json")


async def body_of(request: Request, model: type[Answer], *, at_most: int, service: str) -> Answer:
    """Raises `TooLarge`, and `InvalidInput` that names the fields and repeats nothing."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > at_most:
            raise TooLarge(f"{service}.request_too_large", f"A request has at most {at_most} bytes.", "")
    try:
        return model.model_validate_json(bytes(content))
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, item["loc"])) or "body" for item in error.errors()}))
        raise InvalidInput(f"{service}.request_malformed", f"Not a valid {model.__name__}: {fields}.", "") from None


def answer(message: BaseModel) -> Response:
    return Response(message.model_dump_json(), media_type="application/json", headers={"cache-control": "no-store"})


def http_client(location: str, token: str, service: str, *, timeout_s: float) -> httpx.AsyncClient:
    """For a service at a unix socket's path or a loopback URL (address.py), by no proxy."""
    where = address.parse(location, service)
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(where.socket) if where.socket else None, trust_env=False),
        base_url=where.url,
        headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
        timeout=timeout_s,
        trust_env=False,
    )


async def exchange(http: httpx.AsyncClient, method: str, path: str, content: bytes, *, service: str) -> httpx.Response:
    """Raises `Unavailable` where the service does not answer."""
    try:
        return await http.request(method, path, content=content)
    except httpx.TransportError as error:
        raise Unavailable(
            f"{service}.not_answering",
            f"The {service} does not answer ({type(error).__name__}).",
            f"See that `diwan {service}` runs and that this process has its address; then try again.",
        ) from None


def read(answered: httpx.Response, expected: type[Answer], *, service: str) -> Answer:
    """What was answered. Raises the service's own error."""
    if answered.status_code != 200:
        raise error_of(answered, service=service)
    try:
        return expected.model_validate_json(answered.content)
    except ValidationError:  # from None: the answer may hold keys
        raise _not_it(service) from None


def error_of(answered: httpx.Response, *, service: str) -> DiwanError:
    """The service's own error; what is wrong between it and us is `Unavailable`, never our caller's fault."""
    try:
        said = Problem.model_validate_json(answered.content)
    except ValidationError:
        return _not_it(service)
    kind: type[DiwanError] = getattr(errors, said.error) if said.error in _PASSED_ON else Unavailable
    return kind(said.code, said.message, said.remedy)


def _not_it(service: str) -> Unavailable:
    return Unavailable(
        f"{service}.answer_unexpected",
        f"What answers at the {service}'s address does not speak its protocol.",
        "Check the address, and that both sides are of one version.",
    )
