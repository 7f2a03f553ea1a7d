"""Where a service of this machine listens: a unix socket, or a loopback port. Keys never cross a network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from diwan.domain.errors import InvalidInput

MAX_SOCKET_BYTES = 107  # sun_path has 108 bytes on Linux, the last one is NUL
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Address:
    """Either `socket` is set, or `host` and `port` are."""

    socket: Path | None = None
    host: str = ""
    port: int = 0

    @property
    def url(self) -> str:
        """Base URL for an HTTP client; over a unix socket its host is only a name."""
        if self.socket is not None:
            return "http://localhost"
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def parse(text: str, service: str) -> Address:
    """`/path`, `unix:/path` or `http://127.0.0.1:8300`. Raises `InvalidInput` with the remedy."""
    path = text.removeprefix("unix://").removeprefix("unix:")
    if path.startswith("/"):
        return Address(socket=checked_socket(Path(path), service))
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK or port is None or parts.path not in ("", "/"):
        raise InvalidInput(
            f"{service}.address_not_local",
            f"The {service}'s address is neither a unix socket nor a loopback port.",
            "Use unix:/absolute/path or http://127.0.0.1:PORT.",
        )
    return Address(host=parts.hostname, port=port)


def checked_socket(path: Path, service: str) -> Path:
    """Raises `InvalidInput` for a path that the kernel would not take."""
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_BYTES or not path.is_absolute():
        raise InvalidInput(
            f"{service}.socket_path_unusable",
            f"The socket's path {path} has {length} bytes; it must be absolute and have at most {MAX_SOCKET_BYTES}.",
            f"Choose a shorter path for it, such as /run/diwan/{service}.sock, or a shorter DIWAN_HOME.",
        )
    return path
