"""The vault's HTTP application: authenticates callers, gives keys and pseudonyms. Never logs either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import structlog
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from diwan.domain.errors import DiwanError, Refused, Unauthenticated
from diwan.local import exchange
from diwan.vault import callers, pseudonym
from diwan.vault.callers import RIGHTS, Caller, Right, TokenHashes
from diwan.vault.keystore import KeyStore
from diwan.vault.protocol import (
    MAX_BODY_BYTES,
    DestructionAnswer,
    DestructionRequest,
    EpochsAnswer,
    GenerationAnswer,
    KeysAnswer,
    KeysRequest,
    PseudonymAnswer,
    PseudonymRequest,
)

log = structlog.get_logger()

Model = TypeVar("Model", bound=BaseModel)


def create_app(store: KeyStore, hashes: TokenHashes, *, clock: Callable[[], datetime] | None = None) -> Starlette:
    """The application over an open key store; protocol.py has its routes. `hashes`: caller -> SHA-256 hex of token."""
    vault = _Vault(store, hashes, clock or (lambda: datetime.now(UTC)))
    return Starlette(
        routes=[
            Route("/v1/keys", vault.keys, methods=["POST"]),
            Route("/v1/generation", vault.generation, methods=["GET"]),
            Route("/v1/epochs", vault.epochs, methods=["GET"]),
            Route("/v1/pseudonyms", vault.pseudonyms, methods=["POST"]),
            Route("/v1/destructions", vault.destructions, methods=["POST"]),
            Route("/healthz", _healthy, methods=["GET"]),
            Route("/readyz", vault.ready, methods=["GET"]),
        ],
        exception_handlers={DiwanError: exchange.problem},
    )


class _Vault:
    """Handlers. The store blocks on the disk, so it is called in a thread."""

    def __init__(self, store: KeyStore, hashes: TokenHashes, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._hashes = hashes
        self._clock = clock

    async def keys(self, request: Request) -> Response:
        caller = self._authenticate(request, Right.GET)
        asked = await _asked(request, KeysRequest)
        create = Right.CREATE in RIGHTS[caller]
        keys = await asyncio.to_thread(self._store.keys, asked.tenant, asked.scope, create=create, now=self._clock())
        return exchange.answer(KeysAnswer.model_construct(keys=dict(keys.by_class), generation=keys.generation))

    async def generation(self, request: Request) -> Response:
        self._authenticate(request, Right.GET)
        return exchange.answer(GenerationAnswer(generation=await asyncio.to_thread(self._store.generation)))

    async def epochs(self, request: Request) -> Response:
        self._authenticate(request, Right.GET)
        return exchange.answer(EpochsAnswer(epochs=await asyncio.to_thread(self._store.epochs)))

    async def pseudonyms(self, request: Request) -> Response:
        caller = self._authenticate(request, Right.PSEUDONYM)
        asked = await _asked(request, PseudonymRequest)
        if not callers.may_name(caller, asked.purpose):
            raise _not_allowed(caller, Right.PSEUDONYM)
        create = Right.CREATE in RIGHTS[caller]
        key = await asyncio.to_thread(self._store.pseudonym_key, asked.tenant, create=create, now=self._clock())
        token = pseudonym.token_of(key, asked.purpose, bytes.fromhex(asked.digest))
        return exchange.answer(PseudonymAnswer(pseudonym=token))

    async def destructions(self, request: Request) -> Response:
        self._authenticate(request, Right.DESTROY)
        asked = await _asked(request, DestructionRequest)
        destroyed = await asyncio.to_thread(
            self._store.destroy, asked.tenant, asked.scope, asked.classes, asked.order, now=self._clock()
        )
        log.info("vault.keys.destroyed", order=asked.order, classes=sorted(destroyed))
        return exchange.answer(DestructionAnswer(destroyed=dict(destroyed)))

    async def ready(self, request: Request) -> Response:
        await asyncio.to_thread(self._store.check)
        return await _healthy(request)

    def _authenticate(self, request: Request, right: Right) -> Caller:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        caller = callers.identify(token.strip(), self._hashes) if scheme.lower() == "bearer" else None
        if caller is None:
            log.warning("vault.caller.refused", path=request.url.path)
            raise Unauthenticated(
                "vault.token_unknown", "The vault does not know this token.", "Give the process its own token file."
            )
        if right not in RIGHTS[caller]:
            raise _not_allowed(caller, right)
        return caller


def _not_allowed(caller: Caller, right: Right) -> Refused:
    log.warning("vault.right.refused", caller=caller.value, right=right.value)
    return Refused("vault.not_allowed", f"A {caller.value} may not ask the vault for this.", "Use another role.")


async def _healthy(_: Request) -> Response:
    return Response(b'{"status":"ok"}', media_type="application/json")


async def _asked(request: Request, model: type[Model]) -> Model:
    return await exchange.body_of(request, model, at_most=MAX_BODY_BYTES, service="vault")
