"""The golden set of a procedure: dossiers with what has to come out of them, named by one digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

from diwan.domain.errors import InvalidInput, NotFound


def golden_set_digest(folder: Path) -> str:
    """SHA-256 (hex) over paths and digests of every file below `folder`: whoever changes one has another set.

    In a shell: `LC_ALL=C; find . -type f | sort | xargs -d '\\n' sha256sum | sha256sum`.
    Raises `NotFound` where no dossier has an expected.json, `InvalidInput` where a file cannot be read.
    """
    if not any(folder.glob("*/expected.json")):
        raise NotFound("golden.none", f"No dossier in {folder} has an expected.json.", "Name the folder of dossiers.")
    total = hashlib.sha256()
    files = {f"./{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(files, key=str.encode):
        try:
            digest = hashlib.sha256(files[name].read_bytes()).hexdigest()
        except OSError as error:
            raise InvalidInput("golden.unreadable", f"{name}: {error.strerror}.", "Check its owner.") from None
        total.update(f"{digest}  {name}\n".encode())
    return total.hexdigest()
