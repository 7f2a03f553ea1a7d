"""Serves an ASGI application, or raw bytes, on a free loopback port for the time of a test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(app: ASGIApp, *, port: int = 0, certificate: Path | None = None) -> AsyncGenerator[str]:
    """Gives the base URL. By TLS with a `certificate`: a file that has its key too."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()  # whoever has the address may use it, however long the server takes to start
    config = uvicorn.Config(
        app,
        log_level="error",
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        if certificate is None:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        else:
            yield f"https://localhost:{listener.getsockname()[1]}"  # certificates are for names
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def answering(handler: Handler) -> AsyncGenerator[str]:
    """A server that speaks no HTTP of its own: `handler` writes what it likes."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
