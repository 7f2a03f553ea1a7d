"""What this machine lacks for the embedded stack, or what is wrong with one that runs: each with what to type."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from diwan.domain.errors import DiwanError
from diwan.embedded import accounts, binaries, ports, probes, temporal_program
from diwan.embedded.home import NEEDED_BYTES, Home, check_space
from diwan.embedded.parts import Options
from diwan.embedded.supervisor import STACK_FILE
from diwan.vault.copies import backed_up_at
from diwan.vault.setup import VaultFiles, left_behind

_BACKUP_IS_OLD = timedelta(days=2)
_NOT_BEFORE = 1_767_225_600  # 2026-01-01T00:00:00Z: a clock behind this code's own making is wrong


class State(StrEnum):
    OK = "ok"
    NOTE = "note"  # works without it
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `remedy` says what to type; empty when all is well."""

    what: str
    state: State
    detail: str
    remedy: str = ""


async def examine(options: Options) -> list[Finding]:
    """Look at everything; raises nothing that a finding can say."""
    running = _lock_holder(options.home)
    findings = [
        _python(),
        _bytecode(),
        _guarded("postgres programs", _postgres),
        _guarded("temporal program", _temporal),
        _guarded("database user", _database_user),
        _guarded("home", lambda: _home(options.home, running)),
        _guarded("disk", lambda: _disk(options.home)),
        _guarded("vault keys", lambda: _vault_keys(options.home, datetime.now(UTC))),
        _clock(options.home),
        _time_zones(),
        _scans(),
    ]
    findings += [*(await _parts(options.home))] if running else [*_ports(options)]
    return findings


def _guarded(what: str, look: Callable[[], Finding]) -> Finding:
    """A finding, also where looking itself meets an error of ours or of the system."""
    try:
        return look()
    except DiwanError as error:
        return Finding(what, State.WRONG, error.message, error.remedy)
    except OSError as error:
        return Finding(what, State.WRONG, os.strerror(error.errno or 0), "")


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", State.OK, f"{version} at {sys.executable}")


def _bytecode() -> Finding:
    import diwan

    package = Path(diwan.__file__).parent
    missing = [path for path in package.rglob("*.py") if not Path(_compiled(path)).exists()]
    if missing:
        return Finding(
            "bytecode", State.NOTE, f"{len(missing)} modules are not compiled: a slow start", "Type: make setup"
        )
    return Finding("bytecode", State.OK, "compiled")


def _compiled(path: Path) -> str:
    import importlib.util

    return importlib.util.cache_from_source(str(path))


def _postgres() -> Finding:
    program = binaries.postgres("postgres", accounts.database_account())
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        return Finding("postgres programs", State.WRONG, f"{program} does not run here", "Type: make setup")
    return Finding("postgres programs", State.OK, f"{done.stdout.strip()} at {program}")


def _temporal() -> Finding:
    program = temporal_program.require()
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        return Finding(
            "temporal program", State.WRONG, f"{program} does not run here", f"Type: rm {program}; make setup"
        )
    return Finding("temporal program", State.OK, f"{done.stdout.strip()} at {program}")


def _database_user() -> Finding:
    account = accounts.database_account()
    if account is None:
        return Finding("database user", State.OK, "you (Postgres runs as an ordinary user)")
    return Finding("database user", State.OK, f"{account.name} (Postgres does not run as root)")


def _home(path: Path, running: int | None) -> Finding:
    if running:
        return Finding("home", State.OK, f"{path}, in use by a running stack (pid {running})")
    if not path.exists():
        parent = next(folder for folder in path.parents if folder.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            return Finding(
                "home", State.WRONG, f"{path} cannot be made in {parent}", "Set DIWAN_HOME to a folder of your own."
            )
        return Finding("home", State.OK, f"{path}, made at the first start")
    home = Home(path)
    home.check()
    orphans = home.orphans()
    if orphans:
        names = ", ".join(f"{orphan.name} ({orphan.pid})" for orphan in orphans)
        return Finding("home", State.NOTE, f"{path}; left over from a run that died: {names}", "Type: diwan up")
    return Finding("home", State.OK, f"{path}, no stack runs on it")


def _disk(path: Path) -> Finding:
    check_space(path)
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    return Finding("disk", State.OK, f"{free // 2**20} MB free, {NEEDED_BYTES // 2**20} MB needed")


def _vault_keys(home: Path, now: datetime) -> Finding:
    """What wraps the keys of cases, how old their last backup is, what lies beside them that nothing erases."""
    files = VaultFiles.in_folder(home / "vault")
    if not files.database.exists():
        return Finding("vault keys", State.OK, "made at the first start")
    wrapped = f"wrapped by a key in a file, {files.key}"
    if left := left_behind(files):
        names = ", ".join(path.name for path in left)
        return Finding("vault keys", State.NOTE, f"{wrapped}; copies beside: {names}", "Remove them: docs/vault.md")
    at = backed_up_at(files.database)
    if at is not None and now - at <= _BACKUP_IS_OLD:
        return Finding("vault keys", State.OK, f"{wrapped}; backed up {at:%Y-%m-%d %H:%M}Z")
    said = "never backed up" if at is None else f"last backed up {(now - at).days} days ago"
    return Finding("vault keys", State.NOTE, f"{wrapped}; {said}", "Type: diwan vault backup -o FILE")


def _clock(home: Path) -> Finding:
    now = time.time()
    if now < _NOT_BEFORE:
        return Finding("clock", State.WRONG, "the clock is years behind", "Set it: timedatectl set-ntp true")
    try:
        written = max((path.stat().st_mtime for path in (home / "logs").iterdir()), default=0.0)
    except OSError:
        written = 0.0
    if written > now + 60:
        return Finding(
            "clock", State.WRONG, f"{written - now:.0f} s behind the last log line", "Set it: timedatectl set-ntp true"
        )
    return Finding("clock", State.OK, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)))


def _time_zones() -> Finding:
    try:
        ZoneInfo("Africa/Casablanca")
    except ZoneInfoNotFoundError:
        return Finding("time zones", State.WRONG, "no time zone data", "Type: make setup")
    return Finding("time zones", State.OK, "there")


def _scans() -> Finding:
    program = shutil.which("tesseract")
    if program is None:
        return Finding(
            "scans",
            State.NOTE,
            "no tesseract: scans are left for people to read",
            "Type: apt-get install tesseract-ocr tesseract-ocr-ara tesseract-ocr-fra",
        )
    return Finding("scans", State.OK, f"read by {program}")


def _ports(options: Options) -> Iterator[Finding]:
    for part, port, setting in (
        ("web", options.port, "DIWAN_PORT"),
        ("postgres", options.postgres_port, "DIWAN_POSTGRES_PORT"),
        ("temporal", options.temporal_port, "DIWAN_TEMPORAL_PORT"),
        ("issuer", options.issuer_port, "DIWAN_ISSUER_PORT"),
        ("engine", options.engine_port, "DIWAN_ENGINE_PORT"),
    ):
        if port:
            yield _guarded(f"port of {part}", lambda part=part, port=port, setting=setting: _port(part, port, setting))


def _port(part: str, port: int, setting: str) -> Finding:
    ports.claim(port, setting)
    return Finding(f"port of {part}", State.OK, f"{port} is free")


async def _parts(home: Path) -> Iterable[Finding]:
    """The parts of the stack that runs here, asked one by one."""
    known = Home(home).read(STACK_FILE)
    if not known:
        return [Finding("stack", State.NOTE, "is still starting, or has just stopped", "Wait a few seconds.")]
    asked: dict[str, Awaitable[bool]] = {
        "web": probes.http(_port_of(known["url"]), "/readyz")(),
        "issuer": probes.http(_port_of(known["issuer_url"]), "/.well-known/openid-configuration")(),
        "engine": probes.web(known["engine_url"], "/health")(),
        "vault": probes.unix_http(Path(known["vault_address"]), "/readyz")(),
        "signer": probes.unix_http(Path(known["signer_address"]), "/readyz")(),
        "temporal": probes.tcp(_port_of(f"//{known['temporal_address']}")),
    }
    answers = await asyncio.gather(*asked.values())
    return [
        Finding(part, State.OK, "answers")
        if there
        else Finding(part, State.WRONG, "does not answer", f"See {home / 'logs' / f'{part}.log'}")
        for part, there in zip(asked, answers, strict=True)
    ]


def _port_of(url: str) -> int:
    return urlsplit(url).port or 0


def _lock_holder(home: Path) -> int | None:
    """The pid of the running stack, if the home's lock is held."""
    try:
        with (home / "lock").open("rb") as lock:
            holder = lock.read(20).strip()
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(holder) if holder.isdigit() else -1
    except OSError:
        pass
    return None
