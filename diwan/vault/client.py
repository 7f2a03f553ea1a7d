"""The vault's client: gives ciphers and pseudonyms to the processes that need them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from diwan.domain.errors import DiwanError, InvalidInput, Unavailable
from diwan.domain.ports import KeyEpoch, RetentionClass
from diwan.local import exchange
from diwan.vault import pseudonym
from diwan.vault.cipher import CaseCipher
from diwan.vault.protocol import (
    DestructionAnswer,
    DestructionRequest,
    EpochsAnswer,
    GenerationAnswer,
    KeysAnswer,
    KeysRequest,
    PseudonymAnswer,
    PseudonymRequest,
)

# Together 1.5 s: as long as a restart of the vault takes. Whoever calls retries for longer, or tells a person.
_PAUSES_S = (0.1, 0.2, 0.4, 0.8)
_TIMEOUT_S = 5.0

# How often a process that works from its memory asks whether keys were destroyed: one round trip for all its cases.
_FRESH_S = 30.0

Answer = TypeVar("Answer", bound=BaseModel)

log = structlog.get_logger()


@dataclass(frozen=True)
class _Cached:
    cipher: CaseCipher
    until: float


class VaultKeyring:
    """Implements `diwan.domain.ports.Keyring` and `Epochs`, with the eraser's token `Eraser`, against a vault process.

    `location` is a unix socket's path or a loopback URL (address.py). Keys stay in this process's memory, at most
    `capacity` scopes for `ttl` seconds each. Whoever uses them makes this ask the vault every half minute whether any
    key was destroyed, and forgets all if so; while the vault does not answer, they serve until their `ttl` ends.
    Not for use by several event loops.
    """

    def __init__(
        self,
        location: str,
        token: str,
        *,
        capacity: int = 2048,
        ttl: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = exchange.http_client(location, token, "vault", timeout_s=_TIMEOUT_S)
        self._capacity = capacity
        self._ttl = ttl
        self._clock = clock
        self._pause = pause
        self._ciphers: OrderedDict[tuple[str, str], _Cached] = OrderedDict()
        self._generation: int | None = None
        self._fresh_until = 0.0

    async def cipher(self, tenant: str, scope: str) -> CaseCipher:
        """The scope's cipher; its keys are durable. Raises `Unavailable` when the vault does not answer.

        `NotFound` when there are no keys and this caller may not create any; `Tampered` or `NeedsPerson` when
        the vault cannot read what it stored.
        """
        name = (tenant, scope)
        if name in self._ciphers and self._clock() >= self._fresh_until:
            await self._forget_stale()
        cached = self._ciphers.get(name)
        if cached is not None and cached.until > self._clock():
            self._ciphers.move_to_end(name)
            return cached.cipher
        asked = self._clock()
        answer = await self._ask("/v1/keys", KeysRequest, KeysAnswer, tenant=tenant, scope=scope)
        self._seen(answer.generation, asked)
        cipher = CaseCipher(tenant, scope, answer.keys)
        self._remember(name, cipher)
        return cipher

    async def token(self, tenant: str, purpose: str, value: str) -> str:
        """Pseudonym of `value` within the tenant, 64 hex digits; only a digest of it travels. Raises as `cipher`."""
        digest = pseudonym.digest_of(tenant, purpose, value).hex()
        answer = await self._ask(
            "/v1/pseudonyms", PseudonymRequest, PseudonymAnswer, tenant=tenant, purpose=purpose, digest=digest
        )
        return answer.pseudonym

    async def destroy(
        self, tenant: str, scope: str, classes: Collection[RetentionClass], order: str
    ) -> Mapping[RetentionClass, datetime]:
        """Destroy keys for good (ports.py). Raises `Unavailable`, also where the token is not the eraser's."""
        answer = await self._ask(
            "/v1/destructions",
            DestructionRequest,
            DestructionAnswer,
            tenant=tenant,
            scope=scope,
            classes=frozenset(classes),
            order=order,
        )
        self._ciphers.pop((tenant, scope), None)
        return answer.destroyed

    async def epochs(self) -> Sequence[KeyEpoch]:
        """Which keys wrapped the cases' keys (ports.py). Raises `Unavailable`; does not retry."""
        answer = await exchange.exchange(self._http, "GET", "/v1/epochs", b"", service="vault")
        return exchange.read(answer, EpochsAnswer, service="vault").epochs

    async def ready(self) -> None:
        """Raises `Unavailable` unless the vault answers and can read its database. Does not retry."""
        answer = await exchange.exchange(self._http, "GET", "/readyz", b"", service="vault")
        if answer.status_code != 200:
            raise exchange.error_of(answer, service="vault")

    async def aclose(self) -> None:
        self._ciphers.clear()
        await self._http.aclose()

    async def _forget_stale(self) -> None:
        """Ask which generation the vault is at. Others go on meanwhile: one request at a time is enough."""
        asked = self._clock()
        self._fresh_until = asked + _FRESH_S
        try:
            answer = await exchange.exchange(self._http, "GET", "/v1/generation", b"", service="vault")
            self._seen(exchange.read(answer, GenerationAnswer, service="vault").generation, asked)
        except DiwanError as error:
            log.warning("vault.generation.unknown", code=error.code)

    def _seen(self, generation: int, asked: float) -> None:
        self._fresh_until = asked + _FRESH_S
        if generation != self._generation:
            self._ciphers.clear()
            self._generation = generation

    def _remember(self, name: tuple[str, str], cipher: CaseCipher) -> None:
        now = self._clock()
        for stale in [key for key, cached in self._ciphers.items() if cached.until <= now]:
            del self._ciphers[stale]
        self._ciphers[name] = _Cached(cipher, now + self._ttl)
        while len(self._ciphers) > self._capacity:
            self._ciphers.popitem(last=False)

    async def _ask(self, path: str, request: type[BaseModel], expected: type[Answer], **fields: Any) -> Answer:
        """POST, repeated while the vault is away: every request is idempotent."""
        try:
            body = request(**fields).model_dump_json()
        except ValidationError:
            raise InvalidInput(
                "vault.name_unusable",
                "Tenant, scope and purpose are 1 to 255 printable ASCII characters without spaces, an order a digest.",
                "Use the identifier, not the title; destroy at least one class.",
            ) from None
        pauses = iter(_PAUSES_S)
        while True:
            try:
                answer = await exchange.exchange(self._http, "POST", path, body.encode(), service="vault")
                return exchange.read(answer, expected, service="vault")
            except Unavailable as error:
                pause = next(pauses, None)
                if pause is None:
                    log.error("vault.unavailable", code=error.code)
                    raise
                await self._pause(pause)
