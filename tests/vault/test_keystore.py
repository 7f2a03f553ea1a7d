"""The key store: one key a scope and class for ever, durable, and clear about what is wrong with its file."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from diwan.domain.errors import Conflict, NeedsPerson, NotFound, Tampered, Unavailable
from diwan.domain.ports import RetentionClass
from diwan.vault import database, keyfile
from diwan.vault.keystore import KeyStore

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def open_again(folder: Path, key_file: str = "kek.json") -> KeyStore:
    return KeyStore.open(folder / "vault.sqlite", keyfile.load(folder / key_file))


def with_sql(folder: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(folder / "vault.sqlite", isolation_level=None)
    try:
        connection.execute(statement, values)
    finally:
        connection.close()


def test_keys_are_made_once(store: KeyStore) -> None:
    made = store.keys("demo", "case-1", create=True, now=NOW)
    assert set(made.by_class) == set(RetentionClass)
    assert {len(key) for key in made.by_class.values() if key} == {32}
    assert len(set(made.by_class.values())) == len(RetentionClass)
    assert store.keys("demo", "case-1", create=True, now=NOW) == made
    assert store.keys("demo", "case-1", create=False, now=NOW) == made


def test_without_the_right_to_create_there_is_nothing(store: KeyStore) -> None:
    for ask in (
        lambda: store.keys("demo", "case-1", create=False, now=NOW),
        lambda: store.pseudonym_key("demo", create=False, now=NOW),
    ):
        with pytest.raises(NotFound) as raised:
            ask()
        assert raised.value.code == "vault.key_not_found"


def test_the_search_key_is_the_tenants_own(store: KeyStore) -> None:
    key = store.pseudonym_key("demo", create=True, now=NOW)
    assert store.pseudonym_key("demo", create=True, now=NOW) == key
    assert store.pseudonym_key("other", create=True, now=NOW) != key
    assert key not in store.keys("demo", "case-1", create=True, now=NOW).by_class.values()


def test_keys_outlive_the_connection(store: KeyStore, folder: Path) -> None:
    made = store.keys("demo", "case-1", create=True, now=NOW)
    store.close()
    again = open_again(folder)
    assert again.keys("demo", "case-1", create=False, now=NOW) == made
    again.close()


def test_no_key_is_in_the_file_in_the_clear(store: KeyStore, folder: Path) -> None:
    made = store.keys("demo", "case-1", create=True, now=NOW)
    on_disk = b"".join(each.read_bytes() for each in folder.glob("vault.sqlite*"))
    assert b"case-1" in on_disk
    for key in made.by_class.values():
        assert key is not None
        assert key not in on_disk


def test_files_of_the_store_are_private(store: KeyStore, folder: Path) -> None:
    store.keys("demo", "case-1", create=True, now=NOW)
    modes = {each.name: each.stat().st_mode & 0o777 for each in folder.glob("vault.sqlite*")}
    assert set(modes) == {"vault.sqlite", "vault.sqlite-wal", "vault.sqlite-shm"}
    assert set(modes.values()) == {0o600}


def test_a_commit_syncs_the_log(store: KeyStore) -> None:
    """What `durable before it is returned` rests on; that the sync reaches the disk is SQLite's and the kernel's."""
    connection = store._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_stores_that_create_at_once_agree(store: KeyStore, folder: Path) -> None:
    """Two connections stand for two processes; each scope is raced for by both from a barrier."""
    others = [open_again(folder) for _ in range(2)]
    scopes = [f"case-{number}" for number in range(30)]
    barrier = threading.Barrier(len(others))
    seen: list[list[object]] = [[], []]

    def race(index: int) -> None:
        for scope in scopes:
            barrier.wait()
            seen[index].append(others[index].keys("demo", scope, create=True, now=NOW))

    threads = [threading.Thread(target=race, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen[0]) == len(scopes)
    assert seen[0] == seen[1]
    for other in others:
        other.close()


def test_a_destroyed_search_key_is_never_made_again(store: KeyStore, folder: Path) -> None:
    store.pseudonym_key("demo", create=True, now=NOW)
    with_sql(folder, "UPDATE data_key SET wrapped = NULL, destroyed_at = '2027-01-01' WHERE class = 'pseudonym'")
    with pytest.raises(NotFound) as raised:
        store.pseudonym_key("demo", create=True, now=NOW)
    assert raised.value.code == "vault.key_destroyed"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM data_key WHERE class = 'exchange'",
        "UPDATE data_key SET wrapped = x'00', destroyed_at = NULL WHERE class = 'exchange'",
        "UPDATE data_key SET wrapped = NULL WHERE class = 'decision'",
        "UPDATE data_key SET destroyed_at = '2027-01-01' WHERE class = 'decision'",
    ],
)
def test_the_database_itself_keeps_tombstones(store: KeyStore, folder: Path, statement: str) -> None:
    store.keys("demo", "case-1", create=True, now=NOW)
    store.destroy("demo", "case-1", {RetentionClass.EXCHANGE}, "0" * 64, now=NOW)
    with pytest.raises(sqlite3.IntegrityError):
        with_sql(folder, statement)


def test_a_row_moved_to_another_scope_does_not_unwrap(store: KeyStore, folder: Path) -> None:
    store.keys("demo", "case-1", create=True, now=NOW)
    with_sql(folder, "UPDATE data_key SET scope = 'case-2'")
    with pytest.raises(Tampered) as raised:
        store.keys("demo", "case-2", create=False, now=NOW)
    assert raised.value.code == "vault.key_does_not_unwrap"


def test_a_store_with_another_key_file_does_not_open(store: KeyStore, folder: Path) -> None:
    store.keys("demo", "case-1", create=True, now=NOW)
    keyfile.create(folder / "other.json")
    with pytest.raises(NeedsPerson) as raised:
        open_again(folder, "other.json")
    assert raised.value.code == "vault.wrong_key_file"
    assert "backup" in raised.value.remedy


def test_a_store_is_not_made_over_another(store: KeyStore, folder: Path) -> None:
    with pytest.raises(Conflict):
        database.create(folder / "vault.sqlite")


def code_of_opening(folder: Path) -> str:
    with pytest.raises(NeedsPerson) as raised:
        open_again(folder)
    assert raised.value.remedy
    return raised.value.code


def test_an_exposed_database_is_refused(store: KeyStore, folder: Path) -> None:
    (folder / "vault.sqlite").chmod(0o640)
    assert code_of_opening(folder) == "secret.file_exposed"


def test_a_missing_database_is_not_made_anew(store: KeyStore, folder: Path) -> None:
    store.close()
    (folder / "vault.sqlite").unlink()
    assert code_of_opening(folder) == "vault.database_missing"
    assert not (folder / "vault.sqlite").exists()


def test_a_file_that_is_no_database_is_named(store: KeyStore, folder: Path) -> None:
    store.close()
    (folder / "vault.sqlite").write_bytes(b"not a database at all " * 400)
    assert code_of_opening(folder) == "vault.database_damaged"


def test_a_damaged_page_is_named(store: KeyStore, folder: Path) -> None:
    for number in range(60):
        store.keys("demo", f"case-{number}", create=True, now=NOW)
    store.close()
    content = bytearray((folder / "vault.sqlite").read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (folder / "vault.sqlite").write_bytes(content)
    assert code_of_opening(folder) == "vault.database_damaged"


def test_a_database_of_another_version_is_named(store: KeyStore, folder: Path) -> None:
    store.close()
    for version in (0, database.VERSION + 1):
        with_sql(folder, f"PRAGMA user_version = {version}")
        assert code_of_opening(folder) == "vault.database_version"


def test_a_full_disk_creates_nothing_and_passes(store: KeyStore) -> None:
    """SQLite's own limit on pages raises what a full disk raises, SQLITE_FULL."""
    store.keys("demo", "case-1", create=True, now=NOW)
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    made: list[str] = []

    def fill() -> None:
        for number in range(200):
            store.keys("demo", f"more-{number}", create=True, now=NOW)
            made.append(f"more-{number}")

    with pytest.raises(Unavailable) as raised:
        fill()
    assert raised.value.code == "vault.disk_full"
    with pytest.raises(NotFound):
        store.keys("demo", f"more-{len(made)}", create=False, now=NOW)
    store._connection.execute("PRAGMA max_page_count = 1000000")
    assert store.keys("demo", f"more-{len(made)}", create=True, now=NOW)
