"""Engines without a socket: what httpx calls a transport, as the wire of an `EngineClient`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import httpx

from diwan.pool.wire import Answered, WireFailed


class TransportWire:
    """Over an `httpx.MockTransport`, an `httpx.ASGITransport`, or one of a test's own."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._http = httpx.AsyncClient(base_url="http://engine", transport=transport, trust_env=False)

    @asynccontextmanager
    async def exchange(
        self, method: str, path: str, content: bytes, headers: Mapping[str, str]
    ) -> AsyncGenerator[Answered]:
        try:
            async with self._http.stream(method, path, content=content, headers=dict(headers)) as response:
                yield Answered(response.status_code, response.aiter_raw())
        except httpx.TimeoutException:
            raise TimeoutError from None
        except httpx.HTTPError:
            raise WireFailed from None

    async def aclose(self) -> None:
        await self._http.aclose()
