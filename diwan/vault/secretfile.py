"""Files that hold secrets: private to their owner, written once and durably, refused when exposed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Generator
from pathlib import Path

from diwan.domain.errors import Conflict, NeedsPerson, NotFound, TooLarge, Unavailable

_LIMIT = 256 * 1024


def create(path: Path, content: bytes) -> None:
    """Write `content` to a new file of mode 0600 that is on disk, name included, when this returns.

    An existing file is never replaced: a key overwritten is data lost. Raises `Conflict` when it exists,
    `Unavailable` when the disk is full, `NeedsPerson` when the folder cannot be written.
    """
    with being_made(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, content: bytes) -> None:
    """Write `content`, durably, in the place of a file of mode 0600 that exists: whole before, whole after a crash."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    create(temporary, content)
    with explained(path):
        os.replace(temporary, path)
        sync_directory(path.parent)


@contextlib.contextmanager
def being_made(path: Path) -> Generator[Path, None, None]:
    """An empty file of mode 0600 beside `path`, to be filled and synced; it gets the name `path` at exit.

    So no crash leaves half a file under that name. Raises as `create` does.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with explained(path):
        try:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            yield temporary
            os.link(temporary, path)  # unlike rename, link fails when the name is taken
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)


def read(path: Path) -> bytes:
    """Bytes of a secret file, whose owner and mode are checked on the open file.

    Raises `NotFound` when it is missing, `NeedsPerson` when it is exposed or cannot be read.
    """
    with explained(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            _check(path, os.fstat(file.fileno()))
            content = file.read(_LIMIT + 1)
    if len(content) > _LIMIT:
        raise TooLarge("secret.file_too_large", f"{path} has more than {_LIMIT} bytes.", "Is it the right file?")
    return content


def check_private(path: Path) -> None:
    """Raise as `read` does when the file is missing or exposed, without reading it."""
    with explained(path):
        _check(path, path.stat())


def sync_directory(directory: Path) -> None:
    """Make names created in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NeedsPerson("secret.file_not_regular", f"{path} is not a regular file.", "Give the path of the file.")
    if found.st_uid != os.geteuid():
        raise NeedsPerson(
            "secret.file_of_another_user",
            f"{path} belongs to user {found.st_uid}, this process is user {os.geteuid()}.",
            f"Run as the owner, or give the file to this user: chown {os.geteuid()} {path}",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise NeedsPerson(
            "secret.file_exposed",
            f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}), so what it holds may be known.",
            f"Find out who could read it, then: chmod 600 {path}",
        )


@contextlib.contextmanager
def explained(path: Path) -> Generator[None, None, None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound("secret.file_missing", f"{path} does not exist.", "Check the path, or create it.") from None
    except FileExistsError:
        raise Conflict("secret.file_exists", f"{path} exists already.", "It is kept; move it away first.") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable("secret.disk_full", f"No space left to write {path}.", "Free space, try again.") from None
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise NeedsPerson("secret.file_unusable", f"{path}: {reason}.", "Check owner and mode.") from None
