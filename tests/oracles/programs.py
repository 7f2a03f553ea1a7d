"""Builds the programs that are not ours (fsck) or not Python's (logcheck), once, into the user's cache.

`python -m tests.oracles.programs` does it, silently where they are there; it exits with 69 where only Go is missing,
which `make` then brings.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from diwan.embedded.temporal_program import GO_MISSING, cache_dir

MODULE = Path(__file__).parent
_PACKAGES = {"logcheck": "./logcheck", "fsck": "github.com/transparency-dev/tessera/cmd/fsck"}


@dataclass(frozen=True)
class Programs:
    """`fsck` checks a whole log over HTTP; `logcheck` one proof, or that one checkpoint begins another."""

    fsck: Path
    logcheck: Path


def programs() -> Programs:
    """Where they are; built or not."""
    sources = b"".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum", "logcheck/main.go"))
    folder = cache_dir() / f"oracles-{hashlib.sha256(sources).hexdigest()[:12]}"
    return Programs(folder / "fsck", folder / "logcheck")


def build(go: str) -> None:
    """Into a folder beside, then rename: half of them is never found."""
    folder = programs().fsck.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        for name, package in _PACKAGES.items():
            command = [go, "build", "-trimpath", "-mod=readonly", "-o", f"{made}/{name}", package]
            subprocess.run(command, cwd=MODULE, check=True)
        shutil.copytree(made, f"{folder}.{os.getpid()}")
        Path(f"{folder}.{os.getpid()}").replace(folder)


def main() -> int:
    if programs().fsck.parent.is_dir():
        return 0
    go = shutil.which("go")
    if go is None:
        return GO_MISSING
    print("oracles: building fsck and logcheck (a minute, once)", file=sys.stderr)
    try:
        build(go)
    except subprocess.CalledProcessError:
        print("oracles: not built. Go's module proxy must answer, once.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
