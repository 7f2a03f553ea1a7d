"""Wrapped keys in SQLite: what is returned is on disk, what was destroyed never comes back.

WAL with synchronous=FULL: a commit has synced the log before it returns, so a key survives a kill or a power
cut from the moment a caller sees it. The primary key decides between concurrent creators.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from diwan.domain.errors import DiwanError, NeedsPerson, NotFound, Unavailable
from diwan.domain.ports import RetentionClass
from diwan.vault import aead, secretfile
from diwan.vault.keyfile import KeyEncryptionKeys, missing

_VERSION = 1
_PSEUDONYM = "pseudonym"  # class of the tenant's HMAC key; its scope is empty, which no caller can name
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE kek (id TEXT PRIMARY KEY, first_used_at TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE data_key (
    tenant TEXT NOT NULL,
    scope TEXT NOT NULL,
    class TEXT NOT NULL,
    kek TEXT NOT NULL REFERENCES kek (id),
    wrapped BLOB,
    created_at TEXT NOT NULL,
    destroyed_at TEXT,
    PRIMARY KEY (tenant, scope, class),
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE TRIGGER data_key_stays BEFORE DELETE ON data_key BEGIN
    SELECT raise(ABORT, 'a key leaves a tombstone');
END;
CREATE TRIGGER tombstone_is_final BEFORE UPDATE ON data_key WHEN old.destroyed_at IS NOT NULL BEGIN
    SELECT raise(ABORT, 'a destroyed key stays destroyed');
END;
PRAGMA user_version = {_VERSION};
COMMIT;
"""


class KeyStore:
    """One connection to the vault's database; calls block (a create syncs the disk) and are serialised."""

    def __init__(self, connection: sqlite3.Connection, keks: KeyEncryptionKeys) -> None:
        self._connection = connection
        self._keks = keks
        self._lock = threading.Lock()

    @staticmethod
    def create(path: Path) -> None:
        """Make an empty database, mode 0600. Raises `Conflict` when the file exists."""
        with (
            secretfile.being_made(path) as temporary,
            _explained(),
            contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as connection,
        ):
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_SCHEMA)

    @staticmethod
    def is_unused(path: Path) -> bool:
        """True while no key-encryption key has wrapped anything in this database."""
        with contextlib.closing(_connect(path)) as connection, _explained():
            _check_version(connection, path)
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
        connection = _connect(path)
        try:
            with _explained():
                _check_version(connection, path)
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
        with self._lock, _explained():
            self._connection.execute("SELECT count(*) FROM kek").fetchone()

    def keys(self, tenant: str, scope: str, *, create: bool, now: datetime) -> Mapping[RetentionClass, bytes | None]:
        """Keys of a scope by class, 32 bytes each, None where destroyed; with `create`, missing ones are made.

        Raises `NotFound` when there are none and `create` is false, `Tampered`, `NeedsPerson`, `Unavailable`.
        """
        classes = [retention.value for retention in RetentionClass]
        found = self._find_or_create(tenant, scope, classes, create=create, now=now)
        return {RetentionClass(name): key for name, key in found.items()}

    def pseudonym_key(self, tenant: str, *, create: bool, now: datetime) -> bytes:
        """The tenant's HMAC key, 32 bytes. Raises as `keys` does."""
        key = self._find_or_create(tenant, "", [_PSEUDONYM], create=create, now=now)[_PSEUDONYM]
        if key is None:
            raise NotFound("vault.key_destroyed", "The tenant's search key was destroyed.", "It cannot be had back.")
        return key

    def _find_or_create(
        self, tenant: str, scope: str, classes: Sequence[str], *, create: bool, now: datetime
    ) -> dict[str, bytes | None]:
        with self._lock, _explained():
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
        with _transaction(self._connection) as connection:
            connection.execute("INSERT INTO kek (id, first_used_at) VALUES (?, ?) ON CONFLICT DO NOTHING", (kek, at))
            connection.executemany(
                "INSERT INTO data_key (tenant, scope, class, kek, wrapped, created_at) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                rows,
            )


def _connect(path: Path) -> sqlite3.Connection:
    with _explained():
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=5, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error:
            connection.close()
            raise
    secretfile.sync_directory(path.parent)  # the log's name, too, must outlive a power cut
    return connection


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        raise NeedsPerson(
            "vault.database_version",
            f"{path} has schema {version}, this version of Diwan reads {_VERSION}.",
            "Check the path; after a downgrade go back to the newer version.",
        )


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[sqlite3.Connection, None, None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls back by itself on some errors, a full disk among them
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _explained() -> Generator[None, None, None]:
    """Turn SQLite's errors into ours, by their primary result code."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise NeedsPerson(
                "vault.database_damaged",
                f"The vault's database cannot be read ({name}).",
                "Stop the vault, keep the damaged file, restore the last backup of it.",
            ) from None
        if code == sqlite3.SQLITE_FULL:
            raise Unavailable(
                "vault.disk_full", "The vault's disk is full: no key was created.", "Free space; callers try again."
            ) from None
        raise Unavailable(
            "vault.database_unavailable",
            f"The vault's database did not take this ({name}).",
            "If it stays, check the disk and the system's log for read and write errors.",
        ) from None
