"""The issuer's signing keys: found by discovery, kept in memory, fetched again when a token names a new one."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import orjson
import structlog
from authlib.oidc.discovery import get_well_known_url
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from diwan.domain.errors import InvalidInput, Unauthenticated, Unavailable

log = structlog.get_logger()

Fetch = Callable[[str], Awaitable[Mapping[str, Any]]]
SigningKey = RSAKey | ECKey | OKPKey

_REFRESH_AFTER = timedelta(minutes=10)  # so long may a key still count that the issuer has withdrawn
_FORGET_AFTER = timedelta(hours=24)  # so long may the issuer be away
_LEAST_BETWEEN = timedelta(seconds=10)  # two fetches: tokens with made-up key ids must not turn into load there
_LEAST_AFTER_FAILURE = timedelta(seconds=2)
_MAX_DOCUMENT_BYTES = 512 * 1024
_MAX_KEYS = 100
_LEAST_RSA_BITS = 2048


def http_fetch(client: httpx.AsyncClient) -> Fetch:
    """Fetch a JSON object by GET, without following redirects. Raises `Unavailable` for whatever goes wrong."""

    async def fetch(url: str) -> Mapping[str, Any]:
        content = bytearray()
        try:
            headers = {"accept": "application/json", "accept-encoding": "identity"}
            async with client.stream("GET", url, headers=headers) as answer:
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise _unusable("its answer is packed")  # and unpacked it may be of any size
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if len(content) > _MAX_DOCUMENT_BYTES:
                        raise _unusable("its answer is too large")
        except httpx.HTTPError as error:
            raise _unusable(f"it does not answer ({type(error).__name__})") from None
        if answer.status_code != 200:
            raise _unusable(f"it answers {answer.status_code}")
        try:
            parsed = orjson.loads(content)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise _unusable("its answer is not a JSON object")
        return cast("dict[str, Any]", parsed)

    return fetch


class SigningKeys:
    """Public keys of one issuer, by key id. `fetch` gives the JSON behind a URL or raises `Unavailable`."""

    def __init__(self, issuer: str, fetch: Fetch) -> None:
        _check_transport(issuer)
        self._issuer = issuer
        self._fetch = fetch
        self._lock = asyncio.Lock()
        self._keys: dict[str | None, SigningKey] = {}
        self._loaded_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._failure: Unavailable | None = None

    async def find(self, kid: str | None, now: datetime) -> SigningKey:
        """The key that signed a token; without `kid` the only one there is.

        Raises `Unauthenticated` when the issuer has no such key, `Unavailable` when that cannot be known because
        the issuer is away and no keys of it, or only old ones, are at hand.
        """
        await self.load(now)
        key = self._choose(kid)
        if key is None:
            await self._refresh(now)
            key = self._choose(kid)
        if key is not None:
            return key
        if self._failure is not None:
            raise self._failure
        raise Unauthenticated(
            "auth.key_unknown", "The token was signed with a key that its issuer does not publish.", "Get a new token."
        )

    async def load(self, now: datetime) -> None:
        """Have keys that are recent enough. Raises `Unavailable`."""
        if self._loaded_at is None or not timedelta() <= now - self._loaded_at < _REFRESH_AFTER:
            await self._refresh(now)
        if self._failure is not None and (self._loaded_at is None or now - self._loaded_at >= _FORGET_AFTER):
            raise self._failure

    async def _refresh(self, now: datetime) -> None:
        async with self._lock:  # whoever waited finds that it was tried a moment ago
            least = _LEAST_BETWEEN if self._failure is None else _LEAST_AFTER_FAILURE
            if self._tried_at is not None and timedelta() <= now - self._tried_at < least:
                return
            self._tried_at = now
            try:
                self._keys = await self._fetch_keys()
            except Unavailable as error:
                self._failure = error
                log.warning("auth.keys.not_fetched", code=error.code, kept=len(self._keys))
            else:
                self._loaded_at, self._failure = now, None

    def _choose(self, kid: str | None) -> SigningKey | None:
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    async def _fetch_keys(self) -> dict[str | None, SigningKey]:
        metadata = await self._fetch(str(get_well_known_url(self._issuer, external=True)))
        if metadata.get("issuer") != self._issuer:
            raise _unusable("its metadata name another issuer")
        address = metadata.get("jwks_uri")
        if not isinstance(address, str) or not _is_secure(address):
            raise _unusable("its metadata give no https address of its keys")
        published = (await self._fetch(address)).get("keys")
        if not isinstance(published, list):
            raise _unusable("what it publishes is no key set")
        keys: dict[str | None, SigningKey] = {}
        for document in cast("list[object]", published)[:_MAX_KEYS]:
            key = _imported(document)
            if key is not None:
                keys[key.kid] = key
        if not keys:
            raise _unusable("it publishes no key that may be used")
        return keys


def _imported(document: object) -> SigningKey | None:
    """A public signing key, or None for what is another's business: encryption keys, unknown kinds, weak keys.

    Symmetric keys are never taken: with one, whoever may verify may also forge.
    """
    if not isinstance(document, dict):
        return None
    values = cast("dict[str, Any]", document)
    if values.get("use", "sig") != "sig" or "d" in values:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of weak keys, which are left out here
            key = JWKRegistry.import_key(values)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAKey):
        return key if key.raw_value.key_size >= _LEAST_RSA_BITS else None
    return key if isinstance(key, ECKey | OKPKey) else None


def _check_transport(issuer: str) -> None:
    if not _is_secure(issuer):
        raise InvalidInput(
            "auth.issuer_not_secure",
            "The issuer's address is neither https nor on this machine.",
            "Set the issuer to its https address, exactly as its tokens have it in `iss`.",
        )


def _is_secure(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    loopback = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    return bool(parts.hostname) and (parts.scheme == "https" or loopback)


def _unusable(reason: str) -> Unavailable:
    return Unavailable(
        "auth.issuer_unavailable",
        f"Access tokens cannot be checked: the issuer's keys are not to be had, {reason}.",
        "Try again soon; the operator sees to it that the issuer runs and that its address is right.",
    )
