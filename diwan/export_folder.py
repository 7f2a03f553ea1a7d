"""The folder of an export: each file is written once and has its digest; it gets its name only when it is whole."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from diwan.domain.errors import Conflict, Refused
from diwan.vault.secretfile import sync_directory

SUMS = "SHA256SUMS"


class Folder:
    """Files that are written once, each on the disk and in SHA256SUMS when it is closed; made under another name."""

    def __init__(self, to: Path) -> None:
        self._to, self._made = to, to.with_name(f"{to.name}.part")
        self._open: dict[str, tuple[BinaryIO, Any]] = {}
        self.files = 0

    def __enter__(self) -> Folder:
        """Raises `Conflict` where there is anything of that name."""
        if self._to.exists():
            raise Conflict("export.exists", f"{self._to} is there already.", "Choose another name.")
        try:
            self._made.mkdir(mode=0o700)
        except FileExistsError:
            raise Conflict(
                "export.unfinished", f"{self._made} is there: an export goes on or was broken off.", "Remove it."
            ) from None
        except OSError as error:
            raise Refused("export.unwritable", f"{self._made}: {error.strerror}.", "Choose another place.") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was not taken over is removed, whatever happened."""
        for file, _ in self._open.values():
            file.close()
        if self._made.exists():
            shutil.rmtree(self._made)

    def write(self, name: str, content: bytes) -> None:
        self.add(name, content)
        self.close(name)

    def add(self, name: str, content: bytes) -> None:
        """At the end of a file that stays open."""
        if name not in self._open:
            path = self._made / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open[name] = open(path, "xb", opener=_private), hashlib.sha256()  # noqa: SIM115 - closed by `close`
        file, digest = self._open[name]
        file.write(content)
        digest.update(content)

    def close(self, name: str) -> str:
        """Its SHA-256."""
        file, digest = self._open.pop(name)
        _to_disk(file)
        if name != SUMS:
            self.files += 1
            self.add(SUMS, f"{digest.hexdigest()}  {name}\n".encode())
        return str(digest.hexdigest())

    def close_all(self) -> str:
        """The digest of SHA256SUMS, which is the last to be closed."""
        for name in [each for each in self._open if each != SUMS]:
            self.close(name)
        return self.close(SUMS)

    def take_over(self) -> None:
        """Gives it its name: all of it is on the disk."""
        for folder in [self._made, *(each for each in self._made.rglob("*") if each.is_dir())]:
            sync_directory(folder)
        self._made.rename(self._to)
        sync_directory(self._to.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
