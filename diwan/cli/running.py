"""How every process of the service runs: logs, a signal to stop, health on a port, and a quick end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, NoReturn, TypeVar

import structlog

import diwan
from diwan import metrics, settings, telemetry
from diwan.domain.errors import Conflict, DiwanError
from diwan.settings import Settings
from diwan.tracing import setup, spans

Check = Callable[[], Awaitable[None]]
Figures = Callable[[], Awaitable[None]]
ASGIApplication = Callable[..., Any]
Made = TypeVar("Made")

_HEALTH_PATIENCE_S = 3.0
_LONGEST_PAUSE_S = 10.0

log = structlog.get_logger()


def begin(process: str) -> Settings:
    """Read the settings and send this process's logs where they belong."""
    found = settings.load()
    telemetry.configure(process, level=found.log_level)
    setup.configure(process, file=found.trace_file, endpoint=found.otlp_endpoint)
    metrics.BUILD.set(1, process, diwan.__version__)
    return found


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a process that lives by its database and its engine: on uvloop, whose waiting costs half of asyncio's.

    Imported here alone: the sandbox of workflows does not take it.
    """
    import uvloop

    uvloop.run(main)


_ALLOCATIONS = 20_000  # between two rounds of the garbage collector, of Python's own 700


def settle() -> None:
    """What is loaded stays: it is taken out of the garbage collector's rounds, and these come less often.

    They took up to a tenth of a process's time, for nothing: what a request or a step leaves behind is freed without.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)


@asynccontextmanager
async def stop_signal() -> AsyncGenerator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets. The process is built by now, and settles."""
    settle()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def leave(code: int = 0) -> NoReturn:
    """End at once after all was done: a Temporal client's threads can crash the interpreter on its way out."""
    spans.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def listener(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket. Raises `Conflict` when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(512)
    except OSError as error:
        made.close()
        raise Conflict(
            "port.taken",
            f"{host}:{port} cannot be listened on: {os.strerror(error.errno or 0)}.",
            f"Stop what uses it, or choose another: {setting}=PORT.",
        ) from None
    return made


async def patiently(what: str, attempt: Callable[[], Awaitable[Made]], stop: asyncio.Event) -> Made | None:
    """Try until it works, or None when `stop` comes first: a part that starts later is no reason to die."""
    pause = 0.1
    while not stop.is_set():
        try:
            return await attempt()
        except (DiwanError, OSError, RuntimeError) as error:
            log.warning("process.waiting", part=what, error=type(error).__name__)
        try:
            await asyncio.wait_for(stop.wait(), pause)
        except TimeoutError:
            pause = min(pause * 2, _LONGEST_PAUSE_S)
    return None


async def serve(app: ASGIApplication, socket: socket.socket, stop: asyncio.Event) -> None:
    """Serve an ASGI application until `stop`, then answer what is under way."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Generator[None]:
            yield  # `stop` is ours

    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=10, lifespan="off"
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[socket]))
    await asyncio.wait((serving, asyncio.create_task(stop.wait())), return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving


@asynccontextmanager
async def health(
    host: str, port: int, checks: Mapping[str, Check], figures: Figures | None = None
) -> AsyncGenerator[None]:
    """Serve /healthz (the process lives), /readyz (every check passes) and /metrics while the block runs.

    Port 0: do not. `figures` reads what is not counted as it happens, each time that somebody asks.
    """
    if not port:
        yield
        return
    server = await asyncio.start_server(
        lambda reader, writer: _answer(reader, writer, checks, figures),
        sock=listener(host, port, "DIWAN_HEALTH_PORT"),
    )
    try:
        yield
    finally:
        server.close()


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, checks: Mapping[str, Check], figures: Figures | None
) -> None:
    try:
        async with asyncio.timeout(2 * _HEALTH_PATIENCE_S):
            line = await reader.readline()
            path = line.split(b" ")[1] if line.count(b" ") == 2 else b""
            body = await _figures(figures) if path == b"/metrics" else b""
            status = HTTPStatus.OK if body else await _status(path, checks)
            writer.write(
                f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: {len(body)}\r\n"
                f"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\nConnection: close\r\n\r\n".encode()
            )
            writer.write(body)
            await writer.drain()
    except (OSError, TimeoutError, ValueError):
        pass  # whoever asked went away, or sent no request: nothing of ours
    finally:
        writer.close()


async def _figures(read: Figures | None) -> bytes:
    if read is not None:
        await read()
    return metrics.rendered()


async def _status(path: bytes, checks: Mapping[str, Check]) -> HTTPStatus:
    if path == b"/healthz":
        return HTTPStatus.OK
    if path != b"/readyz":
        return HTTPStatus.NOT_FOUND
    for name, check in checks.items():
        try:
            async with asyncio.timeout(_HEALTH_PATIENCE_S):
                await check()
        except Exception as error:  # whatever is wrong with it: the part cannot be used now
            log.warning("process.part_not_ready", part=name, error=type(error).__name__)
            return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.OK
