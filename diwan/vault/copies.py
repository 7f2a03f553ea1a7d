"""Copies of the vault's database: one made while it serves, and one put in its place.

A copy holds wrapped keys, among them those destroyed after it was made. So a vault that is put back follows its
journal before it answers (journal.py), and the copies themselves go with the key that wrapped them (rotation.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from datetime import datetime
from pathlib import Path

from diwan.domain.errors import NeedsPerson
from diwan.vault import alone, database, secretfile


def backup(path: Path, target: Path, *, now: datetime) -> None:
    """Copy the database, as of one moment, to a new file of mode 0600; a vault may serve meanwhile.

    Raises `Conflict` where the file exists, `NeedsPerson` and `Unavailable` as the database does.
    """
    with contextlib.closing(database.connect(path)) as source, database.explained():
        with secretfile.being_made(target) as temporary:
            with contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, which needs no other beside it
                copy.execute("UPDATE state SET backed_up_at = ?", (now.isoformat(),))
            _check(temporary)
            _sync(temporary)
        source.execute("UPDATE state SET backed_up_at = ?", (now.isoformat(),))


def backed_up_at(path: Path) -> datetime | None:
    """When the database was last copied; it is only read, whatever its version and whoever serves it.

    None where it never was, or where it is of an earlier version. Raises as the database does.
    """
    with database.explained(), contextlib.closing(sqlite3.connect(_read_only(path), uri=True, timeout=5)) as connection:
        if connection.execute("PRAGMA user_version").fetchone() != (database.VERSION,):
            return None
        (at,) = connection.execute("SELECT backed_up_at FROM state").fetchone()
    return datetime.fromisoformat(at) if at else None


def restore(path: Path, copy: Path, *, now: datetime) -> Path | None:
    """Put a copy in the database's place, which is kept beside it under the name that this answers.

    The vault must not run, and follows its journal when it is opened next. Raises `Conflict` while it runs,
    `NeedsPerson` when the copy is none.
    """
    with alone.serving(path), database.explained():
        kept = path.with_name(f"{path.name}.replaced-{now:%Y%m%dT%H%M%SZ}") if path.exists() else None
        temporary = path.with_name(f".{path.name}.restored")
        temporary.unlink(missing_ok=True)
        secretfile.create(temporary, b"")
        try:
            with secretfile.explained(copy):
                shutil.copyfile(copy, temporary)
            _check(temporary)
            _sync(temporary)
            with secretfile.explained(path):
                for end in ("-shm", "-wal", "") if kept else ():
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(f"{path}{end}", f"{kept}{end}")
                os.replace(temporary, path)
                secretfile.sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    return kept


def _check(path: Path) -> None:
    """Raises `NeedsPerson` unless it is a whole database of a vault, of this version or one before."""
    with contextlib.closing(sqlite3.connect(_read_only(path), uri=True)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        whole = connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
        table = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'data_key'").fetchone()
    if not whole or not table or not 1 <= version <= database.VERSION:
        raise NeedsPerson("vault.copy_unusable", "That file is no whole copy of a vault.", "Use another backup.")


def _read_only(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
