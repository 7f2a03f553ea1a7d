"""A full disk, made in two ways: a small file system of the stack's own, or a limit on what Postgres may write.

As root (with the right to mount) the stack's home is a tmpfs; made as small as what lies in it, every process of the
stack meets ENOSPC. Elsewhere, CI's ordinary user included, the size of a file that a process may write is
limited while it runs (RLIMIT_FSIZE): Postgres and Temporal then fail where they would on a full disk, with EFBIG.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterable
from pathlib import Path

_ROOM = "3g"  # only what lies in it takes memory
_TRIES = 50  # its owners write all the time


class SmallDisk:
    """A tmpfs on `folder`, where that can be mounted; `mounted` says whether it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        options = f"size={_ROOM},mode=0711"
        self.mounted = os.geteuid() == 0 and _run("mount", "-t", "tmpfs", "-o", options, "diwan-faults", str(folder))

    def fill(self) -> bool:
        """No byte more can be written. False where it is not ours."""
        return self.mounted and any(self._shrunk() for _ in range(_TRIES))

    def _shrunk(self) -> bool:
        """Whether it was made as small as what lies in it; not where that grew meanwhile."""
        stat = os.statvfs(self.folder)
        used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize
        return _run("mount", "-o", f"remount,size={used}", str(self.folder))

    def free(self) -> None:
        if self.mounted and not _run("mount", "-o", f"remount,size={_ROOM}", str(self.folder)):
            raise RuntimeError("the small disk could not be made large again")

    def close(self) -> None:
        """After the last process on it has ended."""
        if self.mounted:
            _run("umount", "-l", str(self.folder))
            self.mounted = False


def limit(pids: Iterable[int], size: int) -> None:
    """No file of these processes grows past `size` bytes; those that have gone are left out."""
    for pid in pids:
        _limit(pid, size)


def unlimit(pids: Iterable[int]) -> None:
    for pid in pids:
        _limit(pid, resource.RLIM_INFINITY)


def _limit(pid: int, size: int) -> None:
    """Only the soft limit: an ordinary user could not raise the hard one again."""
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    except ProcessLookupError:
        return
    except PermissionError:  # root of a container may not do it for another user (CAP_SYS_RESOURCE): as that user
        with contextlib.suppress(FileNotFoundError):
            said = "unlimited" if size == resource.RLIM_INFINITY else str(size)
            owner = Path(f"/proc/{pid}").stat().st_uid
            command = ("prlimit", "--pid", str(pid), f"--fsize={said}:")
            subprocess.run(command, user=owner, capture_output=True, check=False)


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
