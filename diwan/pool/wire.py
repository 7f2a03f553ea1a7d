"""HTTP to an engine: one exchange at a time on a kept connection, read as it comes, nothing followed or unpacked.

Where the engine is inside the perimeter no connection leaves it, whatever its name is resolved to by then.

aiohttp and not httpx: it is on the way of every call of every agent, and httpx took more of the pool worker's time than
its database did (docs/adr/0017-statements-of-a-step.md).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from diwan.domain.errors import InvalidInput
from diwan.pool.perimeter import INSIDE, Perimeter, Way, literal

_CONNECT_SECONDS = 3.0
# vLLM's server closes what was idle for five seconds; a call that meets that moment would be lost.
_IDLE_SECONDS = 4.0


class WireFailed(Exception):
    """No connection, a broken one, or no HTTP on it. Says nothing of what was sent."""


class WireUntrusted(WireFailed):
    """TLS did not come about. `why` is a word of ours: certificate_expired, certificate_other_name,
    certificate_unknown_authority, certificate_refused, no_tls."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


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
    """`base_url` without path; at most `connections` at once. Proxies of the environment are not used. `trusted`: how
    an engine's certificate is judged, else by the authorities that the system trusts.

    Raises `Refused` for an address outside the perimeter of `way`, now or when its name is resolved to one.
    """

    def __init__(
        self, base_url: str, *, connections: int, way: Way = INSIDE, trusted: ssl.SSLContext | None = None
    ) -> None:
        host = urlsplit(base_url).hostname or ""
        if not way.outside and literal(host):  # which no resolver ever sees
            way.within.check(host, [host])
        self._way = way
        self._base_url = base_url.rstrip("/")
        self._connections = connections
        self._trusted = trusted
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
        except aiohttp.ClientSSLError as error:
            raise WireUntrusted(_why(error)) from None
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
                    ssl=self._trusted or True,
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


def trusting(authority: Path | None) -> ssl.SSLContext | None:
    """Trusts the certificates of the authorities in that PEM file, and no others; None: those that the system does.

    Raises `InvalidInput` where it cannot be read.
    """
    if authority is None:
        return None
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError):
        raise InvalidInput(
            "engine.authority_unreadable",
            f"There is no certificate to be read in {authority}.",
            "DIWAN_ENGINE_CA names a PEM file with the certificates of the authority.",
        ) from None


def _why(error: aiohttp.ClientSSLError) -> str:
    """OpenSSL's number as a word (its X509_V_ERR_…); without a certificate nobody spoke TLS, or none that we do."""
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else None
    if cause is None:
        return "no_tls"
    return _VERDICTS.get(getattr(cause, "verify_code", 0), "certificate_refused")


_VERDICTS = {
    **dict.fromkeys((9, 10), "certificate_expired"),  # or not valid yet
    **dict.fromkeys((2, 18, 19, 20, 21), "certificate_unknown_authority"),
    **dict.fromkeys((62, 64), "certificate_other_name"),  # or another address
}


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
