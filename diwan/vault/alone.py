"""One process at a time: a lock on a file beside the vault's database, gone when its holder is."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Generator
from pathlib import Path

from diwan.domain.errors import Conflict
from diwan.vault import secretfile


@contextlib.contextmanager
def serving(database: Path) -> Generator[None]:
    """Whoever serves the vault, or changes what it may not change meanwhile. Raises `Conflict`."""
    with _alone(database.with_name("serving.lock"), "vault.running", "The vault runs.", "Stop it, then try again."):
        yield


@contextlib.contextmanager
def rotating(database: Path) -> Generator[None]:
    """Whoever changes the key-encryption keys, beside a vault that serves. Raises `Conflict`."""
    with _alone(
        database.with_name("rotating.lock"), "vault.rotating", "Another process rotates the keys.", "Wait for its end."
    ):
        yield


@contextlib.contextmanager
def _alone(lock: Path, code: str, message: str, remedy: str) -> Generator[None]:
    with secretfile.explained(lock):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(code, message, remedy) from None
        yield
    finally:
        os.close(descriptor)
