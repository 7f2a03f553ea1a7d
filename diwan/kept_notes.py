"""Signed notes in a folder that one process keeps: what the signer signed last, what a witness cosigned last.

Whoever is given such a note must find it on disk first, name included: a process that forgets what it signed would sign
another history.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from urllib.parse import quote

from diwan.domain.errors import Conflict
from diwan.vault import secretfile


def file_of(folder: Path, origin: str, ending: str) -> Path:
    """The file of a log in `folder`, whatever its name has in it."""
    return folder / f"{quote(origin, safe='')}.{ending}"


def replace(path: Path, content: bytes) -> None:
    """The file has the old or the new content whatever happens, and the new one is on disk when this returns.

    Raises `Unavailable` when the disk is full, `NeedsPerson` when the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with secretfile.explained(path):
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        secretfile.sync_directory(path.parent)


def locked(folder: Path, service: str) -> int:
    """A descriptor that holds the folder until it is closed. Raises `Conflict` where another process has it."""
    path = folder / "lock"
    with secretfile.explained(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(
            f"{service}.running_already",
            f"Another {service} uses this folder.",
            f"There is one {service} to a folder: stop the other.",
        ) from None
    return descriptor
