"""HTTP to an engine: one exchange at a time on a kept connection, read as it comes, nothing followed or unpacked.

Where the engine is inside the perimeter no connection leaves it, whatever its name is resolved to by then.

aiohttp and not httpx: it is on the way of every call of every agent, and httpx took more of the pool worker's time than
its database did (docs/adr/0017-statements-of-a-step.md).
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from diwan.pool.perimeter import INSIDE, Perimeter, Way, literal

_CONNECT_SECONDS = 3.0
# vLLM's server closes what was idle for five seconds; a call that meets that moment would be lost.
_IDLE_SECONDS = 4.0


class WireFailed(Exception):
    """No connection, a broken one, or no HTTP on it. Says nothing of what was sent."""


@dataclass(frozen=True, slots=True)
class Answered:
    """`chunks` is the body as it comes, as it was sent."""

    status: int
    chunks: AsyncIterator[bytes]


class Wire(Protocol):
    """What carries an exchange; tests have their own."""

    def exchange(
        self, method: str, path: str, content: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Answered]:
        """The answer, within the block; the rest is not read. Raises `WireFailed`, `TimeoutError`."""
        ...

    async def aclose(self) -> None: ...


class HttpWire:
    """`base_url` without path; at most `connections` at once. Proxies of the environment are not used.

    Raises `Refused` for an address outside the perimeter of `way`, now or when its name is resolved to one.
    """

    def __init__(self, base_url: str, *, connections: int, way: Way = INSIDE) -> None:
        host = urlsplit(base_url).hostname or ""
        if not way.outside and literal(host):  # which no resolver ever sees
            way.within.check(host, [host])
        self._way = way
        self._base_url = base_url.rstrip("/")
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def exchange(
        self, method: str, path: str, content: bytes, headers: Mapping[str, str]
    ) -> AsyncGenerator[Answered]:
        """As `Wire.exchange`."""
        try:
            async with self._open().request(
                method, self._base_url + path, data=content or None, headers=headers, allow_redirects=False
            ) as response:
                yield Answered(response.status, response.content.iter_any())
        except TimeoutError:
            raise TimeoutError from None
        except aiohttp.ClientError:
            # The cause is dropped: it can hold what was sent.
            raise WireFailed from None

    def _open(self) -> aiohttp.ClientSession:
        """Made when first used: it belongs to the event loop that runs then."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections,
                    keepalive_timeout=_IDLE_SECONDS,
                    resolver=None if self._way.outside else _Guarded(self._way.within),
                ),
                # Whoever asks bounds the whole of an exchange.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


class _Guarded(AbstractResolver):
    """Resolves names as ever, and refuses what leads out of the perimeter."""

    def __init__(self, within: Perimeter) -> None:
        self._within = within
        self._ordinary = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._ordinary.resolve(host, port, family)
        self._within.check(host, [each["host"] for each in found])
        return found

    async def close(self) -> None:
        await self._ordinary.close()
