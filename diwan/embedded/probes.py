"""Is a local part ready? One small HTTP request over loopback or a unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit


def http(port: int, path: str, *, patience_s: float = 5.0) -> Callable[[], Awaitable[bool]]:
    """A probe of http://127.0.0.1:`port``path`: true on status 200."""

    async def probe() -> bool:
        return await _answers(asyncio.open_connection("127.0.0.1", port), path, patience_s)

    return probe


def web(url: str, path: str, *, patience_s: float = 5.0) -> Callable[[], Awaitable[bool]]:
    """The same of whatever host and port `url` names, by TLS where it says https."""
    at = urlsplit(url)
    secure = at.scheme == "https"

    async def probe() -> bool:
        connecting = asyncio.open_connection(at.hostname, at.port or (443 if secure else 80), ssl=secure or None)
        return await _answers(connecting, path, patience_s)

    return probe


def unix_http(socket: Path, path: str, *, patience_s: float = 5.0) -> Callable[[], Awaitable[bool]]:
    """The same over a unix socket."""

    async def probe() -> bool:
        return await _answers(asyncio.open_unix_connection(str(socket)), path, patience_s)

    return probe


async def tcp(port: int, *, patience_s: float = 5.0) -> bool:
    """Whether 127.0.0.1:`port` takes connections."""
    try:
        async with asyncio.timeout(patience_s):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _answers(
    connecting: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]], path: str, patience_s: float
) -> bool:
    try:
        async with asyncio.timeout(patience_s):
            reader, writer = await connecting
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("ascii"))
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split(b" ")[1:2] == [b"200"]
