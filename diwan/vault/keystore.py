"""Wrapped keys in SQLite: what is returned is on disk, what was destroyed never comes back.

The primary key decides between concurrent creators. database.py has the file's schema and settings.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from diwan.domain.errors import DiwanError, NeedsPerson, NotFound
from diwan.domain.ports import RetentionClass
from diwan.vault import aead, database, secretfile
from diwan.vault.keyfile import KeyEncryptionKeys, missing

_PSEUDONYM = "pseudonym"  # class of the tenant's HMAC key; its scope is empty, which no caller can name


@dataclass(frozen=True)
class Keys:
    """Keys of a scope by class, 32 bytes each, None where destroyed, as of a `generation` of the vault."""

    generation: int
    by_class: Mapping[RetentionClass, bytes | None]


class KeyStore:
    """One connection to the vault's database; calls block (a create syncs the disk) and are serialised."""

    def __init__(self, connection: sqlite3.Connection, keks: KeyEncryptionKeys) -> None:
        self._connection = connection
        self._keks = keks
        self._lock = threading.Lock()

    @staticmethod
    def is_unused(path: Path) -> bool:
        """True while no key-encryption key has wrapped anything in this database."""
        with contextlib.closing(database.connect(path)) as connection, database.explained():
            return connection.execute("SELECT 1 FROM kek").fetchone() is None

    @classmethod
    def open(cls, path: Path, keks: KeyEncryptionKeys) -> Self:
        """Open an existing database with the keys that it needs.

        Raises `NeedsPerson` when it is missing, exposed, not a vault's, damaged, or when `keks` are not its own.
        """
        try:
            secretfile.check_private(path)
        except NotFound:
            raise NeedsPerson(
                "vault.database_missing",
                f"The vault's database {path} does not exist.",
                "Restore it from a backup; on a new installation initialise the vault first.",
            ) from None
        connection = database.connect(path)
        try:
            with database.explained():
                for (name,) in connection.execute("SELECT id FROM kek"):
                    if name not in keks:
                        raise missing(name)
        except DiwanError:
            connection.close()
            raise
        return cls(connection, keks)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def check(self) -> None:
        """Read once; raises as the other calls do when the database does not answer."""
        with self._lock, database.explained():
            self._connection.execute("SELECT count(*) FROM kek").fetchone()

    def generation(self) -> int:
        """A number that is another after every destruction."""
        with self._lock, database.explained():
            return self._generation()

    def keys(self, tenant: str, scope: str, *, create: bool, now: datetime) -> Keys:
        """Keys of a scope; with `create`, missing ones are made.

        Raises `NotFound` when there are none and `create` is false, `Tampered`, `NeedsPerson`, `Unavailable`.
        """
        classes = [retention.value for retention in RetentionClass]
        with self._lock, database.explained():
            generation = self._generation()  # read first: at worst a caller asks once more than it must
            found = self._find_or_create(tenant, scope, classes, create=create, now=now)
        return Keys(generation, {RetentionClass(name): key for name, key in found.items()})

    def destroy(
        self, tenant: str, scope: str, classes: Collection[RetentionClass], order: str, *, now: datetime
    ) -> Mapping[RetentionClass, datetime]:
        """Destroy keys for good and say when each was destroyed; the same again says the same.

        A class that never had a key gets a tombstone too, so that it never will. When this returns, the tombstones
        are on disk and no wrapped key is left in the database or its log. Raises `Unavailable`; try again then.
        """
        names = [retention.value for retention in RetentionClass if retention in classes]
        with self._lock, database.explained():
            absent = set(names) - self._destroyed(tenant, scope).keys()
            if absent:
                self._bury(tenant, scope, sorted(absent), order, now)
            database.wipe_log(self._connection)  # always: a try before this one may have ended just before it
            destroyed = self._destroyed(tenant, scope)
        return {RetentionClass(name): destroyed[name] for name in names}

    def pseudonym_key(self, tenant: str, *, create: bool, now: datetime) -> bytes:
        """The tenant's HMAC key, 32 bytes. Raises as `keys` does."""
        with self._lock, database.explained():
            key = self._find_or_create(tenant, "", [_PSEUDONYM], create=create, now=now)[_PSEUDONYM]
        if key is None:
            raise NotFound("vault.key_destroyed", "The tenant's search key was destroyed.", "It cannot be had back.")
        return key

    def _find_or_create(
        self, tenant: str, scope: str, classes: Sequence[str], *, create: bool, now: datetime
    ) -> dict[str, bytes | None]:
        found = self._find(tenant, scope)
        absent = [name for name in classes if name not in found]
        if absent and create:
            self._insert(tenant, scope, absent, now)
            found = self._find(tenant, scope)  # of two creators one lost: what the database holds is the key
        if not found:
            raise NotFound(
                "vault.key_not_found",
                "There are no keys for this scope, and this caller may not create any.",
                "Look for a mistyped tenant or case; only web and worker create keys.",
            )
        return found

    def _find(self, tenant: str, scope: str) -> dict[str, bytes | None]:
        rows = self._connection.execute(
            "SELECT class, kek, wrapped FROM data_key WHERE tenant = ? AND scope = ?", (tenant, scope)
        )
        return {
            name: None if wrapped is None else self._keks.unwrap(kek, wrapped, tenant, scope, name)
            for name, kek, wrapped in rows
        }

    def _insert(self, tenant: str, scope: str, classes: Sequence[str], now: datetime) -> None:
        kek, at = self._keks.current, now.isoformat()
        rows = [
            (tenant, scope, name, kek, self._keks.wrap(aead.new_key(), tenant, scope, name), at) for name in classes
        ]
        with database.transaction(self._connection) as connection:
            _note_kek(connection, kek, at)
            connection.executemany(
                "INSERT INTO data_key (tenant, scope, class, kek, wrapped, created_at) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                rows,
            )

    def _destroyed(self, tenant: str, scope: str) -> dict[str, datetime]:
        rows = self._connection.execute(
            "SELECT class, destroyed_at FROM data_key WHERE tenant = ? AND scope = ? AND wrapped IS NULL",
            (tenant, scope),
        )
        return {name: datetime.fromisoformat(at) for name, at in rows}

    def _bury(self, tenant: str, scope: str, classes: Sequence[str], order: str, now: datetime) -> None:
        kek, at = self._keks.current, now.isoformat()
        rows = [(tenant, scope, name, kek, at, at, order) for name in classes]
        with database.transaction(self._connection) as connection:
            _note_kek(connection, kek, at)
            connection.executemany(
                "INSERT INTO data_key (tenant, scope, class, kek, created_at, destroyed_at, destroyed_by)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET wrapped = NULL, destroyed_at = excluded.destroyed_at, destroyed_by = excluded.destroyed_by"
                " WHERE destroyed_at IS NULL",
                rows,
            )
            connection.execute("UPDATE state SET generation = generation + 1")

    def _generation(self) -> int:
        (generation,) = self._connection.execute("SELECT generation FROM state").fetchone()
        return generation


def _note_kek(connection: sqlite3.Connection, name: str, at: str) -> None:
    connection.execute("INSERT INTO kek (id, first_used_at) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, at))
