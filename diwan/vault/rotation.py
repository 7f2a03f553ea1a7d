"""Epochs of the key-encryption key: a new one wraps all anew while the vault serves, an old one is retired.

A retired key takes all old backups of the database with it: nothing in them unwraps any more. So a destroyed key is
gone from them too, before they expire.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from diwan.domain.errors import Conflict, NotFound
from diwan.vault import alone, database
from diwan.vault.keks import KeyEncryptionKeys

_AT_ONCE = 200  # a vault that serves waits for a batch at most, with a token about a quarter of a second
_Row = tuple[str, str, str, str, bytes]


@dataclass(frozen=True)
class Rotated:
    """The key that wraps all now. The log may still have keys as they were wrapped before, where something reads it."""

    current: str
    log_emptied: bool


@dataclass(frozen=True)
class Status:
    """How many keys each key-encryption key wraps, how many are destroyed, when the database was last backed up.

    `rotating_to` is the key of a rotation that has not ended.
    """

    current: str
    wrapped: Mapping[str, int]
    retired: tuple[str, ...]
    destroyed: int
    backed_up_at: datetime | None
    rotating_to: str | None


def rotate(path: Path, keks: KeyEncryptionKeys, *, now: datetime, say: Callable[[int], None]) -> Rotated:
    """Add a key and wrap all anew under it; a rotation that has not ended is ended first, and no key added then.

    A vault may serve meanwhile; `say` hears how many keys were done. Raises `Conflict` while another rotates, else as
    the store and the keys do.
    """
    with alone.rotating(path), contextlib.closing(database.connect(path)) as connection, database.explained():
        if not _stale(connection, keks.current) and _rotating_to(connection) != keks.current:
            keks.add()
        with database.transaction(connection):
            connection.execute(
                "INSERT INTO kek (id, first_used_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (keks.current, now.isoformat()),
            )
            connection.execute("UPDATE state SET rotating_to = ?", (keks.current,))
        done = 0
        while _stale(connection, keks.current):  # again where a vault just made keys under the one before
            for rewrapped in _passing(connection, keks):
                done += rewrapped
                say(done)
        emptied = database.empty_log(connection)
        if emptied:
            connection.execute("UPDATE state SET rotating_to = NULL")
    return Rotated(keks.current, emptied)


def retire(path: Path, keks: KeyEncryptionKeys, name: str, *, now: datetime) -> None:
    """Destroy a key-encryption key that wraps nothing any more. Can be repeated.

    Raises `NotFound` where it never was, `Conflict` while it is the current one or wraps anything.
    """
    with alone.rotating(path), contextlib.closing(database.connect(path)) as connection, database.explained():
        keks.refresh()
        if name == keks.current:
            raise Conflict("vault.kek_current", f"{name} wraps new keys.", "Rotate first: `diwan vault rotate`.")
        with database.transaction(connection):
            (known,) = connection.execute("SELECT count(*) FROM kek WHERE id = ?", (name,)).fetchone()
            if not known and name not in keks:
                raise NotFound("vault.kek_not_found", f"There is no key {name}.", "See `diwan vault status`.")
            (wraps,) = connection.execute(
                "SELECT count(*) FROM data_key WHERE kek = ? AND wrapped IS NOT NULL", (name,)
            ).fetchone()
            if wraps:
                raise Conflict("vault.kek_in_use", f"{name} wraps {wraps} keys.", "Rotate first: `diwan vault rotate`.")
            connection.execute(
                "UPDATE kek SET retired_at = ? WHERE id = ? AND retired_at IS NULL", (now.isoformat(), name)
            )
            if keks.names() <= {name, keks.current}:  # what the log may have of before opens no more
                connection.execute("UPDATE state SET rotating_to = NULL")
        keks.remove(name)  # after the mark: a vault that starts in between does not ask for it


def status(path: Path, keks: KeyEncryptionKeys) -> Status:
    """As of now, beside a vault that serves."""
    with contextlib.closing(database.connect(path)) as connection, database.explained():
        wrapped = dict.fromkeys(keks.names(), 0) | dict(
            connection.execute("SELECT kek, count(*) FROM data_key WHERE wrapped IS NOT NULL GROUP BY kek").fetchall()
        )
        retired = connection.execute("SELECT id FROM kek WHERE retired_at IS NOT NULL ORDER BY retired_at").fetchall()
        (destroyed,) = connection.execute("SELECT count(*) FROM data_key WHERE wrapped IS NULL").fetchone()
        at, rotating_to = connection.execute("SELECT backed_up_at, rotating_to FROM state").fetchone()
    return Status(
        current=keks.current,
        wrapped=wrapped,
        retired=tuple(name for (name,) in retired),
        destroyed=destroyed,
        backed_up_at=datetime.fromisoformat(at) if at else None,
        rotating_to=rotating_to,
    )


def _rotating_to(connection: sqlite3.Connection) -> str | None:
    (name,) = connection.execute("SELECT rotating_to FROM state").fetchone()
    return name


def _stale(connection: sqlite3.Connection, current: str) -> bool:
    found = connection.execute("SELECT 1 FROM data_key WHERE kek <> ? AND wrapped IS NOT NULL LIMIT 1", (current,))
    return found.fetchone() is not None


def _passing(connection: sqlite3.Connection, keks: KeyEncryptionKeys) -> Iterator[int]:
    """Once over all keys, a batch and a transaction at a time; how many each had."""
    after = ("", "", "")
    while rows := connection.execute(
        "SELECT tenant, scope, class, kek, wrapped FROM data_key"
        " WHERE (tenant, scope, class) > (?, ?, ?) AND kek <> ? AND wrapped IS NOT NULL"
        " ORDER BY tenant, scope, class LIMIT ?",
        (*after, keks.current, _AT_ONCE),
    ).fetchall():
        yield _rewrap(connection, keks, rows)
        after = rows[-1][:3]


def _rewrap(connection: sqlite3.Connection, keks: KeyEncryptionKeys, rows: list[_Row]) -> int:
    """Unwrapped and wrapped before the transaction; a key that was destroyed meanwhile stays so."""
    anew = [
        (
            *keks.wrap(keks.unwrap(kek, wrapped, tenant, scope, class_), tenant, scope, class_),
            tenant,
            scope,
            class_,
            wrapped,
        )
        for tenant, scope, class_, kek, wrapped in rows
    ]
    with database.transaction(connection):
        connection.executemany(
            "UPDATE data_key SET kek = ?, wrapped = ? WHERE tenant = ? AND scope = ? AND class = ? AND wrapped = ?",
            anew,
        )
    return len(rows)
