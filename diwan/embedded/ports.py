"""Loopback ports and socket paths: free ones, and who holds a taken one."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from pathlib import Path


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def short_folder(wanted: Path) -> Path:
    """A short path that stands for `wanted`, whose own is too long for a socket (108 bytes)."""
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"diwan-{digest}"
