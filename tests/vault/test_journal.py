"""The journal of destructions: a database that is older than it follows it before anybody is answered."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from diwan.domain.errors import Conflict, NeedsPerson, NotFound, Unavailable
from diwan.domain.ports import RetentionClass
from diwan.vault import alone, copies, database, keyfile
from diwan.vault.journal import Destruction, Journal
from diwan.vault.keystore import KeyStore

NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ORDER = "a" * 64
EXCHANGE = {RetentionClass.EXCHANGE}


def opened(folder: Path, *, anew: bool = False) -> KeyStore:
    return KeyStore.open(folder / "vault.sqlite", keyfile.load(folder / "kek.json"), anew=anew)


def code_of_opening(folder: Path) -> str:
    with pytest.raises(NeedsPerson) as raised:
        opened(folder)
    assert "replay" in raised.value.remedy
    return raised.value.code


def exchange_key(store: KeyStore, scope: str = "case-1") -> bytes | None:
    return store.keys("demo", scope, create=True, now=LATER).by_class[RetentionClass.EXCHANGE]


@pytest.fixture
def old_copy(store: KeyStore, folder: Path) -> Path:
    """A copy from before the keys of case 1 and 2 were destroyed; the vault is closed."""
    for scope in ("case-1", "case-2", "case-3"):
        store.keys("demo", scope, create=True, now=NOW)
    copies.backup(folder / "vault.sqlite", folder / "copy", now=NOW)
    store.destroy("demo", "case-1", EXCHANGE, ORDER, now=NOW)
    store.destroy("demo", "case-2", set(RetentionClass), "b" * 64, now=LATER)
    store.close()
    return folder / "copy"


def test_a_restored_database_has_no_destroyed_key(old_copy: Path, folder: Path) -> None:
    (key,) = [row for row in wrapped_in(old_copy) if row[:2] == ("case-1", "exchange")]
    kept = copies.restore(folder / "vault.sqlite", old_copy, now=NOW)
    assert key[2] in (folder / "vault.sqlite").read_bytes()
    store = opened(folder)
    assert key[2] not in b"".join(each.read_bytes() for each in folder.glob("vault.sqlite*") if each != kept)
    assert exchange_key(store) is None
    assert store.destroy("demo", "case-1", EXCHANGE, "c" * 64, now=LATER) == {RetentionClass.EXCHANGE: NOW}
    assert set(store.keys("demo", "case-2", create=True, now=LATER).by_class.values()) == {None}
    assert exchange_key(store, "case-3")
    store.close()
    assert kept is not None
    assert kept.stat().st_mode & 0o777 == 0o600
    again = opened(folder)  # and once is enough
    assert exchange_key(again) is None
    again.close()


def wrapped_in(path: Path) -> list[tuple[str, str, bytes]]:
    import contextlib
    import sqlite3

    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT scope, class, wrapped FROM data_key WHERE wrapped IS NOT NULL").fetchall()


def test_a_copy_is_one_private_file_and_never_over_another(store: KeyStore, folder: Path) -> None:
    store.keys("demo", "case-1", create=True, now=NOW)
    copies.backup(folder / "vault.sqlite", folder / "copy", now=NOW)
    assert sorted(each.name for each in folder.glob("*copy*")) == ["copy"]
    assert (folder / "copy").stat().st_mode & 0o777 == 0o600
    before = (folder / "copy").read_bytes()
    with pytest.raises(Conflict):
        copies.backup(folder / "vault.sqlite", folder / "copy", now=NOW)
    assert (folder / "copy").read_bytes() == before


def test_only_a_whole_copy_is_put_back_and_only_while_the_vault_stands(old_copy: Path, folder: Path) -> None:
    before = (folder / "vault.sqlite").read_bytes()
    (folder / "half").write_bytes(old_copy.read_bytes()[:5000])
    (folder / "other").write_bytes(b"no database")
    for wrong in ("half", "other", "none"):
        with pytest.raises((NeedsPerson, NotFound)):
            copies.restore(folder / "vault.sqlite", folder / wrong, now=NOW)
    with alone.serving(folder / "vault.sqlite"), pytest.raises(Conflict) as raised:
        copies.restore(folder / "vault.sqlite", old_copy, now=NOW)
    assert raised.value.code == "vault.running"
    assert (folder / "vault.sqlite").read_bytes() == before
    assert not list(folder.glob(".vault*"))


@pytest.mark.parametrize("restored", [True, False])
def test_without_its_journal_no_database_opens(old_copy: Path, folder: Path, restored: bool) -> None:
    (folder / "destroyed.jsonl").unlink()
    if restored:
        copies.restore(folder / "vault.sqlite", old_copy, now=NOW)
    assert code_of_opening(folder) == "vault.journal_missing"


def test_an_older_journal_is_refused(old_copy: Path, folder: Path) -> None:
    path = folder / "destroyed.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 3
    path.write_bytes(b"".join(lines[:2]))
    assert code_of_opening(folder) == "vault.journal_older"
    path.write_bytes(lines[0])
    assert code_of_opening(folder) == "vault.journal_older"
    path.write_bytes(whole)
    opened(folder).close()


def test_nobody_else_writes_or_takes_out_a_line(old_copy: Path, folder: Path) -> None:
    copies.restore(folder / "vault.sqlite", old_copy, now=NOW)
    path = folder / "destroyed.jsonl"
    head, first, second = path.read_bytes().splitlines(keepends=True)
    forged = json.dumps({**json.loads(first), "scope": "case-3"}).encode() + b"\n"
    elsewhere = Journal(folder / "elsewhere.jsonl", b"another vault's key")
    elsewhere.write_anew([Destruction.of("demo", "case-3", EXCHANGE, ORDER, NOW)])
    foreign = (folder / "elsewhere.jsonl").read_bytes().splitlines(keepends=True)[1]
    for changed in ([forged], [second], [second, first], [first, first], [first, second, foreign], [b"{}\n"], [b"\n"]):
        path.write_bytes(b"".join([head, *changed]))
        assert code_of_opening(folder) == "vault.journal_changed"
    path.write_bytes(b"".join([head, first, second]))
    store = opened(folder)
    assert exchange_key(store, "case-3")
    store.close()


@pytest.mark.parametrize("torn", [b"{", b'{"at":"2026-', b"\x00" * 40])
def test_half_a_line_was_never_answered_and_goes(old_copy: Path, folder: Path, torn: bytes) -> None:
    path = folder / "destroyed.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    store = opened(folder)
    assert path.read_bytes() == whole
    store.destroy("demo", "case-3", EXCHANGE, ORDER, now=LATER)
    store.close()
    opened(folder).close()


def _destroy_in_the_journal_alone(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.keys("demo", "case-1", create=True, now=NOW)

    def full(*_: object) -> None:
        raise Unavailable("vault.disk_full", "", "")

    with monkeypatch.context() as broken:
        broken.setattr("diwan.vault.keystore._bury", full)
        with pytest.raises(Unavailable):
            store.destroy("demo", "case-1", EXCHANGE, ORDER, now=NOW)


def test_a_destruction_that_only_reached_the_journal_is_done_at_the_next_start(
    store: KeyStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _destroy_in_the_journal_alone(store, monkeypatch)
    store.close()
    again = opened(folder)
    assert exchange_key(again) is None
    assert again.destroy("demo", "case-1", EXCHANGE, "b" * 64, now=LATER) == {RetentionClass.EXCHANGE: NOW}
    again.close()
    assert len((folder / "destroyed.jsonl").read_bytes().splitlines()) == 2


def test_the_same_in_one_process_answers_the_first_time(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    _destroy_in_the_journal_alone(store, monkeypatch)
    assert store.destroy("demo", "case-1", EXCHANGE, "b" * 64, now=LATER) == {RetentionClass.EXCHANGE: NOW}


def test_a_lost_journal_is_begun_anew_from_the_tombstones_and_the_ledger(old_copy: Path, folder: Path) -> None:
    """The worst case: an old copy, and no journal. The ledger's list is what is left."""
    copies.restore(folder / "vault.sqlite", old_copy, now=NOW)
    (folder / "destroyed.jsonl").unlink()
    store = opened(folder, anew=True)
    store.destroy_all([Destruction.of("demo", "case-1", EXCHANGE, ORDER, NOW)])
    store.close()
    store = opened(folder)
    assert exchange_key(store) is None
    store.close()
    (folder / "destroyed.jsonl").unlink()  # and lost again, with a database that has tombstones
    opened(folder, anew=True).close()
    copies.restore(folder / "vault.sqlite", old_copy, now=NOW)
    shutil.copy(folder / "destroyed.jsonl", folder / "kept.jsonl")
    lines = [json.loads(line) for line in (folder / "kept.jsonl").read_bytes().splitlines()[1:]]
    assert [(line["scope"], line["classes"], line["order"]) for line in lines] == [("case-1", ["exchange"], ORDER)]


def test_a_journal_of_another_vault_is_not_taken_for_ones_own(folder: Path, store: KeyStore) -> None:
    store.destroy("demo", "case-1", EXCHANGE, ORDER, now=NOW)
    store.close()
    (folder / "vault.sqlite").unlink()
    database.create(folder / "vault.sqlite")
    assert code_of_opening(folder) == "vault.journal_of_another"


def test_the_journal_is_private(store: KeyStore, folder: Path) -> None:
    assert (folder / "destroyed.jsonl").stat().st_mode & 0o777 == 0o600
    (folder / "destroyed.jsonl").chmod(0o640)
    with pytest.raises(NeedsPerson) as raised:
        store.destroy("demo", "case-1", EXCHANGE, ORDER, now=NOW)
    assert raised.value.code == "secret.file_exposed"
