"""Loopback ports and socket paths: free ones, and who holds a taken one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import tempfile
from pathlib import Path

from diwan.domain.errors import Conflict, Unavailable

_FIRST, _LAST = 20_000, 32_767  # below the range that Linux gives to outgoing connections


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, and that no outgoing connection is given meanwhile."""
    for _ in range(200):
        port = _FIRST + secrets.randbelow(_LAST - _FIRST + 1)
        if is_free(port):
            return port
    raise Unavailable("port.none_free", "No free port was found on 127.0.0.1.", "Try again.")


def claim(port: int, setting: str) -> int:
    """`port` if it can be listened on, a free one for 0. Raises `Conflict` naming who holds it, where that shows."""
    if port == 0:
        return free_port()
    if is_free(port):
        return port
    holder = _holder(port)
    raise Conflict(
        "port.taken",
        f"Port {port} on 127.0.0.1 is taken{f' by {holder}' if holder else ''}.",
        f"Stop what uses it, or choose another: {setting}=PORT (0 takes a free one).",
    )


def is_free(port: int) -> bool:
    """Whether one could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    """`name (pid N)` of the process that listens on `port`, as far as /proc shows it to us."""
    inodes = _listening_inodes(port)
    if not inodes:
        return ""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if any(os.readlink(link) in inodes for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                return f"{name} (pid {process.name})"
    return ""


def _listening_inodes(port: int) -> set[str]:
    """`socket:[N]` of the listening sockets on `port` (proc(5): local address, state 0A, inode)."""
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found


def short_folder(wanted: Path) -> Path:
    """A short path that stands for `wanted`, whose own is too long for a socket (108 bytes)."""
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"diwan-{digest}"
