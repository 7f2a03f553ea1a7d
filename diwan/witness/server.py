"""The witness's HTTP application, as c2sp.org/tlog-witness says. Whoever asks is known by the log's signature alone.

POST /add-checkpoint            200 cosignature lines; 400, 403, 404, 409 with the size or for another root of it, 422
GET  /<origin hash>/checkpoint  what was cosigned last of a log, for monitors
GET  /healthz, /readyz
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import TypeVar

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from diwan.domain.errors import DiwanError, NeedsPerson, NotFound, Retry, Tampered, TooLarge
from diwan.ledger.checkpoint import parse_checkpoint
from diwan.ledger.note import Note
from diwan.ledger.witnessed import MAX_REQUEST_BYTES, parse_growth
from diwan.witness.memory import AnotherSize, Memory

log = structlog.get_logger()

Answer = TypeVar("Answer")

# What the specification answers with, where our errors have another status.
_STATUS = {
    "witness.old_beyond": 400,
    "witness.other_root": 409,
    "proof.not_consistent": 422,
    "checkpoint.not_empty": 422,
}


def create_app(memory: Memory) -> Starlette:
    witness = _Witness(memory)
    return Starlette(
        routes=[
            Route("/add-checkpoint", witness.add, methods=["POST"]),
            Route("/{origin_hash}/checkpoint", witness.last, methods=["GET"]),
            Route("/healthz", _healthy, methods=["GET"]),
            Route("/readyz", witness.ready, methods=["GET"]),
        ],
        exception_handlers={DiwanError: _said},
    )


class _Witness:
    """The memory blocks on the disk, so it is asked in a thread, by one request at a time: what one request reads and
    writes is not read or written by another meanwhile."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._turn = asyncio.Lock()

    async def add(self, request: Request) -> Response:
        growth = parse_growth(await _body_of(request))
        checkpoint = parse_checkpoint(growth.note.text)
        try:
            note = await self._in_turn(lambda: self._memory.add(growth))
        except Tampered as error:
            # Signed by the log, and not what it was: the request itself is the evidence, and is kept in the log.
            log.error("witness.refused", code=error.code, size=checkpoint.size, request=bytes(growth).decode())
            raise
        line = note.by(self._memory.verifier)
        log.info("witness.cosigned", origin=checkpoint.origin, size=checkpoint.size)
        return PlainTextResponse(str(line))

    async def last(self, request: Request) -> Response:
        wanted = request.path_params["origin_hash"]
        return PlainTextResponse(bytes(await self._in_turn(lambda: self._by_hash(wanted))))

    def _by_hash(self, wanted: str) -> Note:
        for each in self._memory.followed():
            if hashlib.sha256(each.origin.encode()).hexdigest() == wanted:
                return self._memory.last(each.origin)
        raise NotFound("witness.log_unknown", "This witness does not follow that log.", "Ask its operator to.")

    async def ready(self, request: Request) -> Response:
        await self._in_turn(self._memory.followed)
        return await _healthy(request)

    async def _in_turn(self, ask: Callable[[], Answer]) -> Answer:
        async with self._turn:
            return await asyncio.to_thread(ask)


async def _body_of(request: Request) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_REQUEST_BYTES:
            raise TooLarge("witness.request_too_large", f"A request has at most {MAX_REQUEST_BYTES} bytes.", "")
    return bytes(content)


async def _said(request: Request, error: Exception) -> Response:
    """The specification's statuses; what is wrong with what was sent, and nothing more specific, is a 400."""
    if isinstance(error, AnotherSize):
        # In a header of its own: clients compare it whole, and a charset would be appended to it.
        return Response(f"{error.size}\n", 409, headers={"content-type": "text/x.tlog.size"})
    assert isinstance(error, DiwanError)
    if isinstance(error, NeedsPerson | Retry):
        log.error("witness.failed", code=error.code, path=request.url.path)
    status = 400 if isinstance(error, Tampered) else error.status
    return PlainTextResponse(f"{error.code}: {error.message}\n", _STATUS.get(error.code, status))


async def _healthy(_: Request) -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json")
