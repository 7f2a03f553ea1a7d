"""The vault's SQLite file: its schema, how it is opened, what its errors mean.

WAL with synchronous=FULL: a commit has synced the log before it returns, so a key survives a kill or a power
cut from the moment a caller sees it. secure_delete: what is deleted or moved within the file leaves zeros behind
(without it a tenth of the keys lay in the file twice, in the free part of a page).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator
from pathlib import Path

from diwan.domain.errors import NeedsPerson, Unavailable
from diwan.vault import secretfile

VERSION = 3
_FIRST = """
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
"""
# What destroying needs: by whose order, and a number that grows with every destruction, by which callers see that
# what they hold in memory may be stale.
_SECOND = """
ALTER TABLE data_key ADD COLUMN destroyed_by TEXT;
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL) STRICT;
INSERT INTO state (one, generation) VALUES (1, 0);
"""
# What the journal, backups and rotations need: how far the journal was followed; keys that were retired; the key to
# which a rotation goes that has not ended. Some databases of the second version have the first of these already.
_THIRD = (
    ("kek", "retired_at TEXT"),
    ("state", "journal_at INTEGER"),
    ("state", "journal_mac TEXT"),
    ("state", "backed_up_at TEXT"),
    ("state", "rotating_to TEXT"),
)
_RETIRED = "new.wrapped IS NOT NULL AND (SELECT retired_at FROM kek WHERE id = new.kek) IS NOT NULL"
_TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {change} ON data_key WHEN {_RETIRED}"
    " BEGIN SELECT raise(ABORT, 'a retired key wraps nothing'); END"
    for name, change in (("retired_at_insert", "INSERT"), ("retired_at_update", "UPDATE OF wrapped, kek"))
)


def create(path: Path) -> None:
    """Make an empty database, mode 0600. Raises `Conflict` when the file exists."""
    with (
        secretfile.being_made(path) as temporary,
        explained(),
        contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(f"BEGIN IMMEDIATE; {_FIRST} PRAGMA user_version = 1; COMMIT;")
        with transaction(connection):
            _steps(connection)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to an existing database of this version or one before, which is brought to this one.

    Raises `NeedsPerson` for another version or a damaged file, `Unavailable` for a file that does not answer.
    """
    with explained():
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=5, check_same_thread=False
        )
        try:
            for setting in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON", "journal_mode = WAL"):
                connection.execute(f"PRAGMA {setting}")
            _bring_to_this_version(connection, path)
        except BaseException:
            connection.close()
            raise
    secretfile.sync_directory(path.parent)  # the log's name, too, must outlive a power cut
    return connection


def _bring_to_this_version(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    if version == 1:  # it left copies of keys in the free parts of pages; first, so that a crash repeats it
        connection.execute("VACUUM")
        if not empty_log(connection):
            raise Unavailable(
                "vault.log_in_use",
                "The database of an earlier version cannot be cleaned: something reads it.",
                "Try again when whatever reads it has ended.",
            )
    if 1 <= version < VERSION:
        with transaction(connection):
            _steps(connection)
    elif version != VERSION:
        raise NeedsPerson(
            "vault.database_version",
            f"{path} has schema {version}, this version of Diwan reads {VERSION}.",
            "Check the path; after a downgrade go back to the newer version.",
        )


def _steps(connection: sqlite3.Connection) -> None:
    """From whatever version it is now, in the caller's transaction: another process may have done it meanwhile."""
    if _version(connection) == 1:
        for statement in filter(str.strip, _SECOND.split(";")):
            connection.execute(statement)
    for table, column in _THIRD:
        there = connection.execute(
            "SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column.partition(" ")[0])
        ).fetchone()
        if there is None:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    for trigger in _TRIGGERS:
        connection.execute(trigger)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return version


def empty_log(connection: sqlite3.Connection) -> bool:
    """Bring the whole log into the file and cut it to nothing, so that no older page is left in it.

    False while another connection reads.
    """
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def wipe_log(connection: sqlite3.Connection) -> None:
    """As `empty_log`, after keys were destroyed. Raises `Unavailable` while another connection reads."""
    if not empty_log(connection):
        raise Unavailable(
            "vault.log_in_use",
            "Keys are destroyed, but the database's log could not be emptied: something reads it.",
            "Try again when the backup or whatever else reads the vault's database has ended.",
        )


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[sqlite3.Connection, None, None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls back by itself on some errors, a full disk among them
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def explained() -> Generator[None, None, None]:
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
