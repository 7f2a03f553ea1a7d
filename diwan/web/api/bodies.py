"""Reading request bodies within limits: one budget of memory for all of them, a clock for slow senders.

Bodies are read by the routes themselves, after authentication: an unknown caller's bytes are never kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from diwan.domain.errors import InvalidInput, Retry, TooLarge, Unavailable, UnsupportedMedia
from diwan.web.api.cloudevent import JSON
from diwan.web.api.fields import KNOWN, check_model
from diwan.web.api.strict_json import parse
from diwan.web.limits import Limits

Model = TypeVar("Model", bound=BaseModel)
Args = ParamSpec("Args")
Value = TypeVar("Value")

_LARGE = 64 * 1024


class TooSlow(Retry):
    """The sender stopped sending, or sent too slowly."""

    status = 408


class TwoLengths(InvalidInput):
    """The body has two lengths, and who reads by one is deceived by the other (RFC 9112, 6.1)."""

    status = 400


class BodyBudget:
    """What all bodies in memory may take up together, in bytes. One a process; used from its event loop only."""

    def __init__(self, size: int) -> None:
        self._free = size

    @contextmanager
    def hold(self, size: int) -> Generator[None]:
        """Holds `size` bytes while a body is read and worked on. Raises `Unavailable` when there is no room."""
        if size > self._free:
            raise Unavailable("http.busy", "Too many large requests are being read now.", "Try again in a few seconds.")
        self._free -= size
        try:
            yield
        finally:
            self._free += size


def expected_size(request: Request, limit: int) -> int:
    """Bytes to hold for this body: what it announces, else the most that it may have."""
    length = request.headers.get("content-length", "")
    return min(int(length), limit) if length.isdecimal() and len(length) <= 15 else limit


def media_type(request: Request) -> str:
    """The Content-Type without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_headers(request: Request, limit: int) -> None:
    """Refuses by its headers alone a body that is too long, of two lengths, compressed, or in another character set."""
    length = request.headers.get("content-length", "")
    if length and "transfer-encoding" in request.headers:
        raise TwoLengths(
            "http.body_length_twice",
            "The request has both Content-Length and Transfer-Encoding.",
            "Send one of them.",
        )
    if length and (not length.isdecimal() or len(length) > 15 or int(length) > limit):
        raise too_large(limit)
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMedia(
            "http.content_encoding",
            "Compressed bodies are not taken: what they grow to cannot be bounded.",
            "Send the body without Content-Encoding.",
        )
    charset = request.headers.get("content-type", "").lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise UnsupportedMedia("http.charset", "Only UTF-8 is taken.", "Encode the body as UTF-8.")


def too_large(limit: int) -> TooLarge:
    return TooLarge(
        "http.body_too_large",
        f"The body is larger than {limit} bytes, the most that is taken here.",
        "Send documents as parts of a multipart/form-data request or through /v1/documents, and split long batches.",
    )


async def chunks(request: Request, limits: Limits, limit: int) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises `TooLarge`, and `TooSlow` after a silence or at the end of its time."""
    check_headers(request, limit)
    stream = request.stream()
    loop = asyncio.get_running_loop()
    ends, seen = loop.time() + limits.body_seconds, 0
    while True:
        try:
            async with asyncio.timeout(max(0.0, min(limits.idle_seconds, ends - loop.time()))):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise TooSlow(
                "http.body_too_slow", "The body did not arrive in time.", "Send it again over a better connection."
            ) from None
        except ClientDisconnect:
            raise InvalidInput("http.body_incomplete", "The body ended early.", "Send it again.") from None
        if chunk is None:
            return
        seen += len(chunk)
        if seen > limit:
            raise too_large(limit)
        if chunk:
            yield chunk


async def read_body(request: Request, limits: Limits, limit: int) -> bytes:
    """The whole body. The caller holds the budget for it."""
    body = bytearray()
    async for chunk in chunks(request, limits, limit):
        body += chunk
    return bytes(body)


async def read_model(request: Request, model: type[Model], limits: Limits) -> Model:
    """A JSON body as `model`; an absent body counts as an empty object. Raises InvalidInput and its kin."""
    body = await read_body(request, limits, limits.json_bytes)
    if not body:
        return check_model(model, {}, code="http.body_invalid")
    if media_type(request) != JSON:
        raise UnsupportedMedia("http.media_type", "This type of body is not taken here.", f"Send {JSON}.")
    value = await off_loop(len(body), parse, body, limits, known=KNOWN)
    return check_model(model, value, code="http.body_invalid")


async def off_loop(size: int, work: Callable[Args, Value], *args: Args.args, **kwargs: Args.kwargs) -> Value:
    """Runs `work` in a thread when it is about many bytes, so that other requests go on meanwhile."""
    if size < _LARGE:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
