"""Wrapped keys in SQLite: what is returned is on disk, what was destroyed never comes back.

The primary key decides between concurrent creators. database.py has the file's schema and settings.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Self

import structlog

from diwan.domain.errors import NeedsPerson, NotFound
from diwan.domain.ports import KeyEpoch, RetentionClass
from diwan.vault import aead, database, journal, secretfile
from diwan.vault.journal import Destruction, Journal, Place
from diwan.vault.keks import KeyEncryptionKeys

# Classes of keys that are no case's; their scope, or tenant and scope, are empty, which no caller can name.
_PSEUDONYM = "pseudonym"  # the tenant's HMAC key
_JOURNAL = "journal"  # the HMAC key of the journal's lines
_AT_ONCE = 500

JOURNAL = "destroyed.jsonl"  # its name, where no other is chosen

log = structlog.get_logger()


@dataclass(frozen=True)
class Keys:
    """Keys of a scope by class, 32 bytes each, None where destroyed, as of a `generation` of the vault."""

    generation: int
    by_class: Mapping[RetentionClass, bytes | None]


class KeyStore:
    """One connection to the vault's database; calls block (a create syncs the disk) and are serialised."""

    def __init__(self, connection: sqlite3.Connection, keks: KeyEncryptionKeys, journal_path: Path) -> None:
        self._connection = connection
        self._keks = keks
        self._journal_path = journal_path
        self._lock = threading.Lock()

    @staticmethod
    def is_unused(path: Path) -> bool:
        """True while no key-encryption key has wrapped anything in this database."""
        with contextlib.closing(database.connect(path)) as connection, database.explained():
            return connection.execute("SELECT 1 FROM kek").fetchone() is None

    @classmethod
    def open(cls, path: Path, keks: KeyEncryptionKeys, *, journal: Path | None = None, anew: bool = False) -> Self:
        """Open an existing database with the keys that it needs, and destroy what its journal says was destroyed.

        `anew` begins a new journal, with all tombstones in it, where the old one is lost; the vault must not run.
        Raises `NeedsPerson` when the database is missing, exposed, not a vault's, damaged, when `keks` are not its
        own, or when the journal is missing or not the newest.
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
        store = cls(connection, keks, journal or path.with_name(JOURNAL))
        try:
            with database.explained():
                for (name,) in connection.execute("SELECT id FROM kek WHERE retired_at IS NULL"):
                    if name not in keks:
                        raise keks.missing(name)
                store._open_journal(anew=anew)
        except BaseException:
            connection.close()
            raise
        return store

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

    def epochs(self) -> tuple[KeyEpoch, ...]:
        """The key-encryption keys that wrapped anything, the oldest first; retired once they are gone from what holds
        them, not when that was begun."""
        with self._lock, database.explained():
            self._keks.refresh()
            rows = self._connection.execute("SELECT id, first_used_at, retired_at FROM kek ORDER BY first_used_at, id")
            return tuple(
                KeyEpoch(
                    name,
                    datetime.fromisoformat(begun),
                    datetime.fromisoformat(retired) if retired and name not in self._keks else None,
                )
                for name, begun, retired in rows
            )

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
        asked = Destruction.of(tenant, scope, classes, order, now)
        self.destroy_all([asked])
        with self._lock, database.explained():
            destroyed = self._destroyed(tenant, scope)
        return {retention: destroyed[retention.value] for retention in asked.classes}

    def destroy_all(self, destructions: Iterable[Destruction]) -> None:
        """As `destroy`, many at once: first the journal, then the database, then the rest of its log."""
        with self._lock, database.explained():
            with self._journal().locked() as file:
                self._follow(file)
                left = [rest for each in destructions if (rest := self._undone(each)) is not None]
                if left:
                    self._journal().append(file, self._place(), left)
                    self._follow(file)
            database.wipe_log(self._connection)  # always: a try before this one may have ended just before it

    def _undone(self, destruction: Destruction) -> Destruction | None:
        done = self._destroyed(destruction.tenant, destruction.scope)
        classes = tuple(each for each in destruction.classes if each.value not in done)
        return destruction.model_copy(update={"classes": classes}) if classes else None

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
        self._keks.refresh()
        at = now.isoformat()
        rows = [(tenant, scope, name, *self._keks.wrap(aead.new_key(), tenant, scope, name), at) for name in classes]
        with database.transaction(self._connection) as connection:
            _note_kek(connection, self._keks.current, at)
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

    # --- the journal --------------------------------------------------------------------------------------------------

    def _open_journal(self, *, anew: bool) -> None:
        """Follow the journal to its end. Raises `NeedsPerson`."""
        if anew:
            self._begin_journal_anew()
        (begun,) = self._connection.execute("SELECT journal_at IS NOT NULL FROM state").fetchone()
        if not begun:
            journal.create(self._journal_path)
            self._journal_key()
            self._set_place(journal.START)
        with self._journal().locked() as file:
            followed = self._follow(file)
        if followed:
            log.warning("vault.destructions.replayed", count=followed)
            database.wipe_log(self._connection)

    def _follow(self, file: BinaryIO) -> int:
        """Do what the journal has after the place that the database is at; how many destructions that was."""
        count = 0
        for batch in _batches(self._journal().followed(file, self._place())):
            with database.transaction(self._connection) as connection:
                for destruction, _ in batch:
                    _bury(connection, destruction, self._keks.current)
                self._set_place(batch[-1][1])
            count += len(batch)
        return count

    def _begin_journal_anew(self) -> None:
        rows = self._connection.execute(
            "SELECT tenant, scope, class, destroyed_by, destroyed_at FROM data_key"
            " WHERE wrapped IS NULL AND scope <> ''"
        )
        done = [
            Destruction.of(tenant, scope, [RetentionClass(name)], order or "0" * 64, datetime.fromisoformat(at))
            for tenant, scope, name, order, at in rows
        ]
        if self._journal_path.exists():
            aside = self._journal_path.with_name(
                f"{self._journal_path.name}.replaced-{self._journal_path.stat().st_ino}"
            )
            self._journal_path.rename(aside)
        self._journal().write_anew(done)
        self._set_place(journal.START)

    def _journal(self) -> Journal:
        return Journal(self._journal_path, self._journal_key())

    def _journal_key(self) -> bytes:
        key = self._find_or_create("", "", [_JOURNAL], create=True, now=datetime.now(UTC))[_JOURNAL]
        assert key is not None
        return key

    def _place(self) -> Place:
        at, mac = self._connection.execute("SELECT journal_at, journal_mac FROM state").fetchone()
        return Place(at, mac)

    def _set_place(self, place: Place) -> None:
        self._connection.execute("UPDATE state SET journal_at = ?, journal_mac = ?", place)

    def _generation(self) -> int:
        (generation,) = self._connection.execute("SELECT generation FROM state").fetchone()
        return generation


def _note_kek(connection: sqlite3.Connection, name: str, at: str) -> None:
    connection.execute("INSERT INTO kek (id, first_used_at) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, at))


def _bury(connection: sqlite3.Connection, destruction: Destruction, kek: str) -> None:
    """Tombstones; a key that was destroyed before keeps its own."""
    at = destruction.at.isoformat()
    _note_kek(connection, kek, at)
    connection.executemany(
        "INSERT INTO data_key (tenant, scope, class, kek, created_at, destroyed_at, destroyed_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET wrapped = NULL, destroyed_at = excluded.destroyed_at, destroyed_by = excluded.destroyed_by"
        " WHERE destroyed_at IS NULL",
        [(destruction.tenant, destruction.scope, each, kek, at, at, destruction.order) for each in destruction.classes],
    )
    connection.execute("UPDATE state SET generation = generation + 1")


def _batches(followed: Iterable[tuple[Destruction, Place]]) -> Generator[list[tuple[Destruction, Place]]]:
    batch: list[tuple[Destruction, Place]] = []
    for each in followed:
        batch.append(each)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
