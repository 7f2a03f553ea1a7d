"""Which user the database runs as, and where that user can reach its files.

Postgres refuses to run as root, so root starts it as an ordinary user. No folder of anybody's is ever opened
for that user: what it cannot reach is kept under `/var/lib/diwan` instead.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from diwan.domain.errors import Final

CANDIDATES = ("diwan", "postgres", "nobody")
SHARED_ROOT = Path("/var/lib/diwan")


@dataclass(frozen=True)
class Account:
    """An entry of the passwd file: initdb wants one for the user it runs as."""

    name: str
    uid: int
    gid: int


def database_account() -> Account | None:
    """The user to change to, or None when we are not root and the database runs as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise Final(
        "postgres.no_account",
        f"Postgres does not run as root and none of the users {', '.join(CANDIDATES)} exists.",
        "Type: useradd --system --no-create-home diwan",
    )


def can_enter(path: Path, account: Account | None) -> bool:
    """Whether `account` may pass through every existing folder on the way to `path` (by mode bits)."""
    if account is None:
        return True
    resolved = path.resolve()
    return all(_passable(folder, account) for folder in (*reversed(resolved.parents), resolved) if folder.is_dir())


def _passable(folder: Path, account: Account) -> bool:
    info = folder.stat()
    if info.st_uid == account.uid:
        return bool(info.st_mode & stat.S_IXUSR)
    if info.st_gid == account.gid:
        return bool(info.st_mode & stat.S_IXGRP)
    return bool(info.st_mode & stat.S_IXOTH)


def place_for(wanted: Path, account: Account | None) -> Path:
    """Where to keep what `wanted` should hold: there, or in `/var/lib/diwan/<hash>` if `account` cannot get there."""
    if can_enter(wanted.parent, account):
        return wanted
    shared = SHARED_ROOT / hashlib.sha256(os.fsencode(wanted.resolve())).hexdigest()[:16]
    make_passable(SHARED_ROOT)
    if not can_enter(SHARED_ROOT, account):
        raise Final(
            "postgres.data_unreachable",
            f"The database's user can reach neither {wanted} nor {SHARED_ROOT}.",
            f"Type: chmod a+x {SHARED_ROOT}",
        )
    return shared


def make_passable(folder: Path) -> None:
    """Make `folder` so that others may pass through but not list it; one that exists is left as it is."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(0o711)


def make_private(folder: Path, account: Account | None) -> None:
    """Make `folder` (and missing parents), owned by `account`, closed to everybody else.

    Raises `Final` where it is a link or no folder, or somebody else's. Looked at and changed through one descriptor:
    who owns the folder above cannot put a link in its place between the two.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise Final("home.not_a_folder", f"{folder} is not a folder.", "Move it away.") from None
    try:
        owner = os.geteuid() if account is None else account.uid
        found = os.fstat(opened).st_uid
        if found not in {owner, os.geteuid()}:
            raise Final(
                "home.wrong_owner",
                f"{folder} belongs to uid {found}, not to uid {owner}.",
                f"Run as its owner, or type: chown -R {owner} {folder}",
            )
        if account is not None:
            os.fchown(opened, account.uid, account.gid)
        os.fchmod(opened, 0o700)
    finally:
        os.close(opened)
