"""DIWAN_HOME: one owner, one stack at a time, and what a run that died left behind.

lock                 held (flock) by the running `diwan up`; the kernel frees it when that process dies
run/processes.json   the children, by pid and start time, so that the next run never ends a stranger
run/ports.json       the free ports chosen before, taken again where they still are free
run/stack.json       addresses of the running stack, read by client commands
secrets/ logs/ postgres/ temporal/ vault/ signer/
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pwd
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diwan.domain.errors import Conflict, DiwanError, Final
from diwan.embedded import accounts

NEEDED_BYTES = 300 * 1024 * 1024  # initdb and its write-ahead log, Temporal's file, logs


@dataclass(frozen=True)
class ProcessRecord:
    """A process that can be told from a later one with the same pid: `started` is in clock ticks since boot."""

    name: str
    pid: int
    started: int
    stop_signal: int


class Home:
    """The folder of one stack. `open` before anything is started, `close` after everything has stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self._lock: int | None = None

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run(self) -> Path:
        return self.path / "run"

    def open(self) -> int | None:
        """Make and check the folder and take its lock; returns the pid of a run that ended without stopping.

        Raises `Conflict` when a stack already runs on it, `Final` when it is not ours, not reachable or full.
        """
        self._make()
        check_space(self.path)
        return self._take_lock()

    def close(self) -> None:
        """Give the lock back and say that the run ended well."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace `run/NAME` at once, mode 0600. Raises `Final` when the disk is full."""
        _replace(self.run / name, json.dumps(content, indent=1).encode() + b"\n")

    def write_secret(self, name: str, content: str) -> Path:
        """Replace `secrets/NAME` at once, mode 0600, and give its path."""
        path = self.secrets / name
        _replace(path, content.encode() + b"\n")
        return path

    def read(self, name: str) -> dict[str, Any]:
        """What `run/NAME` holds; nothing when it is missing or broken."""
        with contextlib.suppress(OSError, ValueError):
            content = json.loads((self.run / name).read_text(encoding="utf-8"))
            if isinstance(content, dict):
                return content  # pyright: ignore[reportUnknownVariableType]
        return {}

    def remove(self, name: str) -> None:
        (self.run / name).unlink(missing_ok=True)

    def record(self, children: Iterable[ProcessRecord]) -> None:
        """Remember the children of this run."""
        self.write("processes.json", {"boot": _boot_id(), "children": [vars(child) for child in children]})

    def orphans(self) -> list[ProcessRecord]:
        """Children of an earlier run that still live."""
        recorded = self.read("processes.json")
        if recorded.get("boot") != _boot_id():
            return []
        children = [ProcessRecord(**child) for child in recorded.get("children", [])]
        return [child for child in children if started_at(child.pid) == child.started]

    def check(self) -> None:
        """Raise `Final` when the folder, which exists, is no folder, another's, open to others or closed to us."""
        try:
            if not self.path.is_dir():
                raise Final("home.not_a_folder", f"DIWAN_HOME {self.path} is not a folder.", "Choose another.")
            found = self.path.stat()
            owner = found.st_uid
        except OSError as error:
            raise unusable(self.path, error) from None
        if owner != os.geteuid():
            raise Final(
                "home.wrong_owner",
                f"DIWAN_HOME {self.path} belongs to {_name_of(owner)}, you are {_name_of(os.geteuid())}.",
                "Run as its owner, or set DIWAN_HOME to a folder of your own.",
            )
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Final(
                "home.writable_by_others",
                f"Others may write to DIWAN_HOME {self.path}, and so put their own files in the place of its secrets.",
                f"Type: chmod go-w {self.path}",
            )
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise unusable(self.path, PermissionError(errno.EACCES, "closed"))

    def _make(self) -> None:
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True)
                # As root the database's user must pass through; nobody may list it.
                self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
            self.check()
            for folder in (self.secrets, self.logs, self.run):
                accounts.make_private(folder, None)
        except OSError as error:
            raise unusable(self.path, error) from None

    def _take_lock(self) -> int | None:
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(self.path, error) from None
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Conflict(
                "home.in_use",
                f"A stack already runs on {self.path}{f' (pid {holder})' if holder else ''}.",
                "Use that one, stop it (Ctrl-C where it runs), or set DIWAN_HOME to another folder.",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor
        return int(holder) if holder.isdigit() else None


def end(orphans: Iterable[ProcessRecord], *, within_s: float = 10.0) -> None:
    """Stop processes that nobody waits for: asked first, killed when they do not go."""
    left = list(orphans)
    for orphan in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan.pid, orphan.stop_signal)
    deadline = time.monotonic() + within_s
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [orphan for orphan in left if started_at(orphan.pid) == orphan.started]
    for orphan in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan.pid, signal.SIGKILL)


def started_at(pid: int) -> int | None:
    """When a live process started, in clock ticks since boot (proc(5), stat field 22); None for none or a zombie."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = line.rpartition(")")[2].split()  # the name before it may contain anything
    return None if fields[0] in "ZX" else int(fields[19])


def check_space(path: Path, needed: int = NEEDED_BYTES) -> None:
    """Raises `Final` when fewer than `needed` bytes are free where `path` (or its nearest parent) lies."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise Final(
            "disk.full",
            f"Only {free // 2**20} MB are free on the disk of {path}; the stack needs {needed // 2**20} MB.",
            "Free some space (df -h), or set DIWAN_HOME to a folder on another disk.",
        )


def unusable(path: Path, error: OSError) -> DiwanError:
    """Why a folder of ours cannot be used."""
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return Final(
        "home.unusable",
        f"DIWAN_HOME {path} cannot be used: {reason}.",
        "Set DIWAN_HOME to a folder that you may write to, or run as the user whose folder it is.",
    )


def _replace(path: Path, content: bytes) -> None:
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unusable(path.parent.parent, error) from None


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
