"""The signer's HTTP application. Says no more than what it signed; knows hashes, and nothing that they are of."""

from __future__ import annotations

import asyncio
import hmac

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from diwan.domain.errors import DiwanError, Unauthenticated
from diwan.ledger.checkpoint import Checkpoint
from diwan.local import exchange
from diwan.signer.memory import Memory
from diwan.signer.protocol import MAX_BODY_BYTES, KeysAnswer, LastRequest, NoteAnswer, SignRequest

log = structlog.get_logger()


def create_app(memory: Memory, token: str) -> Starlette:
    """protocol.py has its routes."""
    signer = _Signer(memory, token)
    return Starlette(
        routes=[
            Route("/v1/checkpoints", signer.sign, methods=["POST"]),
            Route("/v1/last", signer.last, methods=["POST"]),
            Route("/v1/keys", signer.keys, methods=["GET"]),
            Route("/healthz", _healthy, methods=["GET"]),
            Route("/readyz", signer.ready, methods=["GET"]),
        ],
        exception_handlers={DiwanError: exchange.problem},
    )


class _Signer:
    """The memory blocks on the disk, so it is asked in a thread, by one request at a time."""

    def __init__(self, memory: Memory, token: str) -> None:
        self._memory = memory
        self._token = token.encode()
        self._turn = asyncio.Lock()

    async def sign(self, request: Request) -> Response:
        self._authenticate(request)
        asked = await exchange.body_of(request, SignRequest, at_most=MAX_BODY_BYTES, service="signer")
        checkpoint = Checkpoint(asked.origin, asked.size, bytes.fromhex(asked.root))
        async with self._turn:
            try:
                note = await asyncio.to_thread(self._memory.sign, checkpoint, [bytes.fromhex(h) for h in asked.proof])
            except DiwanError as error:
                log.error("signer.refused", code=error.code, origin=asked.origin, size=asked.size)
                raise
        return exchange.answer(NoteAnswer(note=bytes(note).decode()))

    async def last(self, request: Request) -> Response:
        self._authenticate(request)
        asked = await exchange.body_of(request, LastRequest, at_most=MAX_BODY_BYTES, service="signer")
        async with self._turn:
            note = await asyncio.to_thread(self._memory.last, asked.origin)
        return exchange.answer(NoteAnswer(note=None if note is None else bytes(note).decode()))

    async def keys(self, request: Request) -> Response:
        self._authenticate(request)
        async with self._turn:
            keys, retired = await asyncio.to_thread(lambda: (self._memory.keys(), self._memory.retired()))
        return exchange.answer(KeysAnswer(keys=tuple(keys), retired=tuple(retired)))

    async def ready(self, request: Request) -> Response:
        async with self._turn:
            await asyncio.to_thread(self._memory.check)
        return await _healthy(request)

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
            log.warning("signer.caller.refused", path=request.url.path)
            raise Unauthenticated("signer.token_unknown", "The signer does not know this token.", "Give its own token.")


async def _healthy(_: Request) -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json")
