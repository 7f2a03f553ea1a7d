"""Serves the vault on a unix socket, or on a loopback port where asked, until the process is told to stop."""

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

from diwan.domain.errors import Conflict, InvalidInput
from diwan.vault import address, setup
from diwan.vault.server import create_app
from diwan.vault.setup import VaultFiles

log = structlog.get_logger()

_BACKLOG = 128


def serve(files: VaultFiles, location: str, *, mode: int = 0o600) -> None:
    """Run the vault until SIGTERM or SIGINT; answers running requests first.

    `location` is a socket's path or a loopback URL (address.py); `mode` a socket's permissions (0o660 lets callers
    of the same group in). Raises `NeedsPerson` as `setup.open_vault` does, `InvalidInput` for a location that
    cannot be used, `Conflict` when another vault listens there.
    """
    where = address.parse(location)
    with contextlib.ExitStack() as stack:
        if where.socket is not None:
            listener = stack.enter_context(_unix_listener(where.socket, mode))
        else:
            listener = stack.enter_context(_loopback_listener(where.host, where.port))
        store, hashes = setup.open_vault(files)
        stack.callback(store.close)
        config = uvicorn.Config(
            create_app(store, hashes),
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=5,
            lifespan="off",
        )
        server = uvicorn.Server(config)
        stack.enter_context(_stopping(server))
        log.info("vault.started", location=location)
        server.run(sockets=[listener])
        log.info("vault.stopped")


@contextlib.contextmanager
def _stopping(server: uvicorn.Server) -> Generator[None, None, None]:
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
def _unix_listener(path: Path, mode: int) -> Generator[socket.socket, None, None]:
    """A bound, listening socket; the lock beside it says whether a file left there is in use."""
    with _locked(Path(f"{path}.lock"), path):
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
def _locked(lock: Path, path: Path) -> Generator[None, None, None]:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(
            "vault.socket_folder_unusable",
            f"The folder of {path} cannot be written ({os.strerror(error.errno or 0)}).",
            "Make the folder, owned by the user that the vault runs as.",
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict(
            "vault.running_already", f"Another vault listens on {path}.", "Stop it, or give this one its own socket."
        ) from None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _loopback_listener(host: str, port: int) -> Generator[socket.socket, None, None]:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise InvalidInput(
            "vault.port_unusable",
            f"Port {port} of {host} cannot be used ({os.strerror(error.errno or 0)}).",
            "Choose another port for the vault, or a unix socket.",
        ) from None
    try:
        yield listener
    finally:
        listener.close()
