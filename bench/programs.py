"""The programs that the bench runs on: Temporal's production server, built once by Go, and Debian's Postgres.

`python -m bench.programs` brings or finds them, and says what to install where one is missing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.say import say
from diwan.domain.errors import DiwanError, Final, Unavailable
from diwan.embedded.temporal_program import cache_dir

MODULE = (
    Path(__file__).parent / "server"
)  # go.mod names the server and its schema tool, go.sum pins what goes into them
TEMPORAL_VERSION = "1.32.0"
_TOOLS = {"server": "go.temporal.io/server/cmd/server", "sql": "go.temporal.io/server/cmd/tools/sql"}
_PROGRESS_EVERY_S = 20.0
_OLDEST_POSTGRES = 15


@dataclass(frozen=True)
class Temporal:
    """The server and `temporal-sql-tool`, which has the server's SQL for Postgres in it."""

    server: Path
    sql_tool: Path


@dataclass(frozen=True)
class Postgres:
    """`bin` of an installation with the contributed extensions (Temporal's visibility needs btree_gin)."""

    bin: Path
    version: str


def temporal() -> Temporal:
    """Build the server where it is not in the user's cache yet (minutes, once)."""
    digest = hashlib.sha256((MODULE / "go.sum").read_bytes()).hexdigest()[:12]
    folder = cache_dir() / f"temporal-server-{TEMPORAL_VERSION}-{digest}"
    if not folder.is_dir():
        _build(_go(), folder)
    return Temporal(folder / "server", folder / "sql")


def postgres() -> Postgres:
    """The newest of Debian's installations."""
    found = sorted(
        (int(path.parent.name), path)
        for path in Path("/usr/lib/postgresql").glob("*/bin")
        if path.parent.name.isdigit() and (path / "postgres").exists()
    )
    if not found or found[-1][0] < _OLDEST_POSTGRES:
        raise Final(
            "bench.no_postgres",
            f"The bench runs on Debian's Postgres, {_OLDEST_POSTGRES} or later; there is none in /usr/lib/postgresql.",
            "Type: apt-get install postgresql postgresql-contrib (its own cluster need not run).",
        )
    major, folder = found[-1]
    if not Path(f"/usr/share/postgresql/{major}/extension/btree_gin.control").exists():
        raise Final(
            "bench.no_btree_gin",
            f"Postgres {major} has no extension btree_gin, which Temporal's visibility store needs.",
            "Type: apt-get install postgresql-contrib",
        )
    said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return Postgres(folder, said.split()[2])


def _go() -> str:
    go = shutil.which("go")
    if go is None:
        raise Final(
            "bench.no_go",
            "Temporal's production server is built by Go, and there is none on PATH.",
            "Install Go 1.26 or later, or type: make .go/bin/go, and put .go/bin on PATH.",
        )
    return go


def _build(go: str, folder: Path) -> None:
    """Into a folder beside, then rename: half a server is never found."""
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    started = time.monotonic()
    say(f"temporal server {TEMPORAL_VERSION}: building with {go} (about 5 minutes, once)")
    try:
        for name, package in _TOOLS.items():
            _run([go, "build", "-trimpath", "-mod=readonly", "-o", str(unfinished / name), package], started)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    say(f"temporal server: built in {time.monotonic() - started:.0f} s")


def _run(command: list[str], started: float) -> None:
    child = subprocess.Popen(
        command, cwd=MODULE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        while True:
            try:
                output, _ = child.communicate(timeout=_PROGRESS_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                say(f"temporal server: still building, {time.monotonic() - started:.0f} s")
    finally:
        child.kill()
        child.wait()
    if child.returncode != 0:
        last = (output.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(
            "bench.build_failed",
            f"Building Temporal's server failed: {last[:300]}",
            "Check Go (1.26 or later) and its module proxy, and try again.",
        )


def main() -> int:
    try:
        built, found = temporal(), postgres()
    except DiwanError as error:
        say(str(error))
        return error.exit_code
    say(f"temporal server {TEMPORAL_VERSION}: {built.server}")
    say(f"postgres {found.version}: {found.bin}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
