"""Serves an application on a unix socket, or on a loopback port where asked, until the process is told to stop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import threading
from collections.abc import Generator
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
from starlette.types import ASGIApp

from diwan.domain.errors import Conflict, InvalidInput
from diwan.local import address

log = structlog.get_logger()

_BACKLOG = 128


@contextlib.contextmanager
def listening(location: str, service: str, *, mode: int = 0o600) -> Generator[socket.socket]:
    """A bound, listening socket. `mode` is a unix socket's permissions (0o660 lets callers of the same group in).

    `location` is a socket's path or a loopback URL (address.py). Raises `InvalidInput` for one that cannot be used,
    `Conflict` when another of this service listens there.
    """
    where = address.parse(location, service)
    if where.socket is not None:
        with _unix_listener(where.socket, service, mode) as listener:
            yield listener
    else:
        with _loopback_listener(where.host, where.port, service) as listener:
            yield listener


def run(app: ASGIApp, listener: socket.socket, service: str) -> None:
    """Serve until SIGTERM or SIGINT; answers running requests first."""
    config = uvicorn.Config(
        app, access_log=False, log_config=None, server_header=False, timeout_graceful_shutdown=5, lifespan="off"
    )
    server = uvicorn.Server(config)
    with _stopping(server):
        log.info(f"{service}.started")
        server.run(sockets=[listener])
        log.info(f"{service}.stopped")


@contextlib.contextmanager
def _stopping(server: uvicorn.Server) -> Generator[None]:
    """Make SIGTERM and SIGINT end the server and nothing more.

    uvicorn catches both, and raises them again when it has stopped: with the usual handlers the process would be
    gone before its socket is removed and its database closed.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _unix_listener(path: Path, service: str, mode: int) -> Generator[socket.socket]:
    """A bound, listening socket; the lock beside it says whether a file left there is in use."""
    with _locked(Path(f"{path}.lock"), path, service):
        path.unlink(missing_ok=True)  # ours, and stale: whoever made it no longer holds the lock
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            mask = os.umask(0o177)  # never, not even for a moment, open to others
            try:
                listener.bind(str(path))
            finally:
                os.umask(mask)
            os.chmod(path, mode)
            listener.listen(_BACKLOG)
            yield listener
        finally:
            listener.close()
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(lock: Path, path: Path, service: str) -> Generator[None]:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(
            f"{service}.socket_folder_unusable",
            f"The folder of {path} cannot be written ({os.strerror(error.errno or 0)}).",
            f"Make the folder, owned by the user that the {service} runs as.",
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict(
            f"{service}.running_already",
            f"Another {service} listens on {path}.",
            "Stop it, or give this one its own socket.",
        ) from None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _loopback_listener(host: str, port: int, service: str) -> Generator[socket.socket]:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise InvalidInput(
            f"{service}.port_unusable",
            f"Port {port} of {host} cannot be used ({os.strerror(error.errno or 0)}).",
            f"Choose another port for the {service}, or a unix socket.",
        ) from None
    try:
        yield listener
    finally:
        listener.close()
