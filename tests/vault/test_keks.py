"""Key-encryption keys in a file and in a token behave alike, and a rotation goes over either."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from diwan.domain.errors import Conflict, NeedsPerson, NotFound, Tampered, Unavailable
from diwan.domain.ports import KeyEpoch, RetentionClass
from diwan.vault import aead, alone, database, keyfile, rotation
from diwan.vault.hsm import TokenKeys, TokenPlace
from diwan.vault.keks import KeyEncryptionKeys
from diwan.vault.keystore import KeyStore
from tests.vault import keeping
from tests.vault.keeping import KINDS

NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
ROW = ("demo", "case-1", "decision")
ORDER = "a" * 64
Place = Path | TokenPlace


@pytest.fixture(params=KINDS)
def kept(request: pytest.FixtureRequest, folder: Path) -> tuple[Place, KeyEncryptionKeys]:
    return keeping.keys_of(request.param, folder, request)


def test_what_is_wrapped_unwraps_in_its_row_only(kept: tuple[Place, KeyEncryptionKeys]) -> None:
    place, keks = kept
    key = aead.new_key()
    name, wrapped = keks.wrap(key, *ROW)
    assert (name, len(wrapped)) == (keks.current, 61)
    assert key not in wrapped
    assert keeping.opened(place).unwrap(name, wrapped, *ROW) == key
    assert keks.wrap(key, *ROW)[1] != wrapped
    for row in (("x", "case-1", "decision"), ("demo", "case-2", "decision"), ("demo", "case-1", "evidence")):
        with pytest.raises(Tampered) as raised:
            keks.unwrap(name, wrapped, *row)
        assert raised.value.code == "vault.key_does_not_unwrap"
    for at in (0, 1, 13, 45, 60):
        with pytest.raises(Tampered):
            keks.unwrap(name, wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :], *ROW)
    with pytest.raises(Tampered):
        keks.unwrap(name, wrapped[:20], *ROW)


def test_a_new_key_wraps_and_the_old_one_still_unwraps(kept: tuple[Place, KeyEncryptionKeys]) -> None:
    place, keks = kept
    other = keeping.opened(place)
    old, wrapped = keks.wrap(b"k" * 32, *ROW)
    new = keks.add()
    assert keks.current == new != old
    assert keks.names() == {old, new}
    again = keks.wrap(b"k" * 32, *ROW)[1]
    assert other.unwrap(new, again, *ROW) == b"k" * 32  # it looks again for a name that it does not know
    assert other.unwrap(old, wrapped, *ROW) == b"k" * 32
    with pytest.raises(Tampered):
        keks.unwrap(new, wrapped, *ROW)
    keks.remove(old)
    other.refresh()
    assert other.names() == keks.names() == {new}
    with pytest.raises(NeedsPerson) as raised:
        keks.unwrap(old, wrapped, *ROW)
    assert raised.value.code == "vault.wrong_key_file"


def made(folder: Path, keks: KeyEncryptionKeys, cases: int) -> KeyStore:
    database.create(folder / "vault.sqlite")
    store = KeyStore.open(folder / "vault.sqlite", keks)
    for number in range(cases):
        store.keys("demo", f"case-{number}", create=True, now=NOW)
    return store


def all_keys(store: KeyStore, cases: int) -> list[object]:
    return [store.keys("demo", f"case-{number}", create=False, now=NOW).by_class for number in range(cases)]


def test_a_rotation_beside_a_vault_that_serves(
    kept: tuple[Place, KeyEncryptionKeys], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vault makes and destroys keys in the middle of it; nothing changes for callers, nothing comes back."""
    monkeypatch.setattr(rotation, "_AT_ONCE", 4)
    place, keks = kept
    store = made(folder, keks, 6)
    store.pseudonym_key("demo", create=True, now=NOW)
    before = all_keys(store, 6)
    old = keks.current
    seen: list[int] = []

    def meanwhile(done: int) -> None:
        if not seen:
            store.keys("demo", "case-new", create=True, now=NOW)
            store.destroy("demo", "case-5", {RetentionClass.EXCHANGE}, ORDER, now=NOW)
        seen.append(done)

    new = rotation.rotate(folder / "vault.sqlite", keeping.opened(place), now=NOW, say=meanwhile).current
    assert seen == sorted(seen)
    assert len(seen) > 3
    found = rotation.status(folder / "vault.sqlite", keeping.opened(place))
    assert (found.current, found.destroyed) == (new, 1)
    assert found.wrapped == {old: 0, new: 6 * 3 - 1 + 3 + 2}  # and the new case's, the search key, the journal's
    before[5] = {**before[5], RetentionClass.EXCHANGE: None}  # pyright: ignore[reportGeneralTypeIssues]
    assert all_keys(store, 6) == before
    rotation.retire(folder / "vault.sqlite", keeping.opened(place), old, now=NOW)
    store.close()
    again = KeyStore.open(folder / "vault.sqlite", keeping.opened(place))
    assert all_keys(again, 6) == before
    again.close()
    assert rotation.status(folder / "vault.sqlite", keeping.opened(place)).retired == (old,)


def test_its_epochs_are_told_and_their_end_once_the_key_is_gone(
    kept: tuple[Place, KeyEncryptionKeys], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a vault that serves, of what other processes do to its keys."""
    place, keks = kept
    path = folder / "vault.sqlite"
    store, later, last = made(folder, keks, 1), NOW + timedelta(days=30), NOW + timedelta(days=31)
    (first,) = store.epochs()
    assert (first.name, first.retired_at) == (keks.current, None)
    new = rotation.rotate(path, keeping.opened(place), now=later, say=lambda _: None).current
    assert store.epochs() == (first, KeyEpoch(new, later))

    def dies(self: KeyEncryptionKeys, name: str) -> None:
        raise RuntimeError("it dies")

    with monkeypatch.context() as patched:
        patched.setattr(type(keks), "remove", dies)
        with pytest.raises(RuntimeError):
            rotation.retire(path, keeping.opened(place), first.name, now=last)
    assert store.epochs() == (first, KeyEpoch(new, later)), "marked, and still there"
    rotation.retire(path, keeping.opened(place), first.name, now=last)
    assert store.epochs() == (KeyEpoch(first.name, first.begun_at, last), KeyEpoch(new, later))
    store.close()


def test_a_key_destroyed_between_reading_and_wrapping_anew_stays_destroyed(store: KeyStore, folder: Path) -> None:
    store.keys("demo", "case-1", create=True, now=NOW)
    with contextlib.closing(database.connect(folder / "vault.sqlite")) as connection:
        rows = connection.execute(
            "SELECT tenant, scope, class, kek, wrapped FROM data_key WHERE scope = 'case-1'"
        ).fetchall()
        store.destroy("demo", "case-1", {RetentionClass.EXCHANGE}, ORDER, now=NOW)
        rotation._rewrap(connection, keyfile.load(folder / "kek.json"), rows)
    assert store.keys("demo", "case-1", create=True, now=NOW).by_class[RetentionClass.EXCHANGE] is None


def test_a_rotation_that_was_cut_off_is_ended_by_the_next(
    kept: tuple[Place, KeyEncryptionKeys], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "_AT_ONCE", 2)
    _, keks = kept
    store = made(folder, keks, 3)
    before = all_keys(store, 3)
    names = keks.names()

    def cut_off(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotation.rotate(folder / "vault.sqlite", keks, now=NOW, say=cut_off)
    (new,) = keks.names() - names
    (old,) = names
    assert all_keys(store, 3) == before
    with pytest.raises(Conflict) as raised:
        rotation.retire(folder / "vault.sqlite", keks, old, now=NOW)
    assert raised.value.code == "vault.kek_in_use"
    assert rotation.rotate(folder / "vault.sqlite", keks, now=NOW, say=lambda _: None).current == new
    assert keks.names() == {old, new}
    assert rotation.status(folder / "vault.sqlite", keks).wrapped[old] == 0
    assert all_keys(store, 3) == before
    store.close()


def test_a_rotation_beside_a_reader_has_worked_and_its_repeat_adds_no_key(
    store: KeyStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is wrapped anew; that the log has nothing of before is known only once the reader has gone."""
    store.keys("demo", "case-1", create=True, now=NOW)
    keks = keyfile.load(folder / "kek.json")
    (before,) = keks.names()
    path = folder / "vault.sqlite"
    connect = database.connect

    def impatient(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute("PRAGMA busy_timeout = 0")
        return connection

    monkeypatch.setattr(database, "connect", impatient)
    (old,) = store._connection.execute("SELECT wrapped FROM data_key WHERE class = 'exchange'").fetchone()
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM data_key").fetchone()
    first = rotation.rotate(path, keks, now=NOW, say=lambda _: None)
    assert (first.log_emptied, first.current != before) == (False, True)
    assert rotation.status(path, keks).wrapped[before] == 0
    assert rotation.status(path, keks).rotating_to == first.current
    assert old in log_and_file(path)
    reader.execute("COMMIT")
    reader.close()
    again = rotation.rotate(path, keks, now=NOW, say=lambda _: None)
    assert again == rotation.Rotated(first.current, log_emptied=True)
    assert keks.names() == {before, first.current}
    assert old not in log_and_file(path)
    assert rotation.status(path, keks).rotating_to is None
    assert rotation.rotate(path, keks, now=NOW, say=lambda _: None).current != first.current


def log_and_file(path: Path) -> bytes:
    return path.read_bytes() + path.with_name(f"{path.name}-wal").read_bytes()


def test_a_rotation_that_was_retired_has_ended(store: KeyStore, folder: Path) -> None:
    """Killed between the last key and the log, then the key before retired: the next rotation is a new one."""
    store.keys("demo", "case-1", create=True, now=NOW)
    keks = keyfile.load(folder / "kek.json")
    path, old = folder / "vault.sqlite", keks.current

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotation.rotate(path, keks, now=NOW, say=killed)
    new = rotation.status(path, keks).rotating_to
    rotation.retire(path, keks, old, now=NOW)
    assert rotation.status(path, keks).rotating_to is None
    assert rotation.rotate(path, keks, now=NOW, say=lambda _: None).current != new


def test_what_may_not_be_retired(kept: tuple[Place, KeyEncryptionKeys], folder: Path) -> None:
    _, keks = kept
    store = made(folder, keks, 1)
    for name, code in ((keks.current, "vault.kek_current"), ("kek-nobody", "vault.kek_not_found")):
        with pytest.raises((Conflict, NotFound)) as raised:
            rotation.retire(folder / "vault.sqlite", keks, name, now=NOW)
        assert raised.value.code == code
    with alone.rotating(folder / "vault.sqlite"), pytest.raises(Conflict) as raised:
        rotation.rotate(folder / "vault.sqlite", keks, now=NOW, say=lambda _: None)
    assert raised.value.code == "vault.rotating"
    store.close()


def test_a_retired_key_wraps_nothing_even_for_a_vault_that_was_slow(store: KeyStore, folder: Path) -> None:
    """It chose its key before the rotation, and writes after the key was retired."""
    keks = keyfile.load(folder / "kek.json")
    store.keys("demo", "case-1", create=True, now=NOW)
    old, late = keks.wrap(b"k" * 32, "demo", "late", "decision")
    rotation.rotate(folder / "vault.sqlite", keks, now=NOW, say=lambda _: None)
    rotation.retire(folder / "vault.sqlite", keks, old, now=NOW)
    rotation.retire(folder / "vault.sqlite", keks, old, now=NOW + timedelta(days=1))
    connection = sqlite3.connect(folder / "vault.sqlite")
    for statement in (
        "INSERT INTO data_key (kek, wrapped, tenant, scope, class, created_at) VALUES (?, ?, 'demo', 'x', 'x', 'x')",
        "UPDATE data_key SET kek = ?, wrapped = ?",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="retired"):
            connection.execute(statement, (old, late))
    connection.close()


def test_after_a_rotation_and_retirement_an_old_copy_opens_nothing(store: KeyStore, folder: Path) -> None:
    """The reason to rotate: what was destroyed since is gone from every older backup."""
    store.keys("demo", "case-1", create=True, now=NOW)
    copy = (folder / "vault.sqlite").read_bytes()
    wal = (folder / "vault.sqlite-wal").read_bytes()
    keks = keyfile.load(folder / "kek.json")
    old = keks.current
    rotation.rotate(folder / "vault.sqlite", keks, now=NOW, say=lambda _: None)
    rotation.retire(folder / "vault.sqlite", keks, old, now=NOW)
    (folder / "old.sqlite").write_bytes(copy)
    (folder / "old.sqlite-wal").write_bytes(wal)
    (folder / "old.sqlite").chmod(0o600)
    with pytest.raises(NeedsPerson) as raised:
        KeyStore.open(folder / "old.sqlite", keyfile.load(folder / "kek.json"))
    assert raised.value.code == "vault.wrong_key_file"


# --- the file alone -------------------------------------------------------------------------------------------------


def test_a_key_file_that_was_taken_away_serves_on(folder: Path) -> None:
    """An operator may keep it on a stick, and put it in for a start only."""
    keyfile.create(folder / "kek.json")
    keks = keyfile.load(folder / "kek.json")
    name, wrapped = keks.wrap(b"k" * 32, *ROW)
    (folder / "kek.json").unlink()
    keks.refresh()
    assert keks.unwrap(name, wrapped, *ROW) == b"k" * 32


def test_a_rotated_key_file_is_private_and_whole(folder: Path) -> None:
    keyfile.create(folder / "kek.json")
    keyfile.load(folder / "kek.json").add()
    assert (folder / "kek.json").stat().st_mode & 0o777 == 0o600
    assert len(keyfile.load(folder / "kek.json").names()) == 2
    assert [each.name for each in folder.iterdir()] == ["kek.json"]


# --- the token alone ------------------------------------------------------------------------------------------------


def test_a_key_never_leaves_its_token(token: TokenPlace) -> None:
    import pkcs11
    from pkcs11 import Attribute

    keys = TokenKeys(token)
    name = keys.add()
    key = keys._keys[name]
    for attribute in (Attribute.SENSITIVE, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE):
        assert key[attribute]
    with pytest.raises(pkcs11.AttributeSensitive):
        key[Attribute.VALUE]


def test_a_token_that_cannot_be_used_says_why(token: TokenPlace) -> None:
    with pytest.raises(NeedsPerson) as raised:
        TokenKeys(token).current  # noqa: B018
    assert raised.value.code == "vault.token_empty"
    for wrong, code in (
        (TokenPlace(token.module, "another", token.pin), "vault.token_missing"),
        (TokenPlace(Path("/nothing.so"), token.label, token.pin), "vault.token_unusable"),
    ):
        with pytest.raises(NeedsPerson) as raised:
            TokenKeys(wrong)
        assert raised.value.code == code
        assert raised.value.remedy
        assert token.pin not in f"{raised.value!r} {wrong!r}"


def test_a_lost_session_is_opened_again(token: TokenPlace) -> None:
    keys = TokenKeys(token)
    keys.add()
    name, wrapped = keys.wrap(b"k" * 32, *ROW)
    assert keys._session is not None
    keys._session.close()
    assert keys.unwrap(name, wrapped, *ROW) == b"k" * 32


def test_a_token_that_goes_away_is_unavailable_and_comes_back(
    token: TokenPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = TokenKeys(token)
    keys.add()
    name, wrapped = keys.wrap(b"k" * 32, *ROW)
    with monkeypatch.context() as away:
        away.setattr(keys, "_place", TokenPlace(token.module, "unplugged", token.pin))
        assert keys._session is not None
        keys._session.close()
        for _ in range(2):
            with pytest.raises(Unavailable) as raised:
                keys.unwrap(name, wrapped, *ROW)
            assert raised.value.code == "vault.token_not_answering"
    assert keys.unwrap(name, wrapped, *ROW) == b"k" * 32


def test_other_keys_in_a_token_are_not_ours(token: TokenPlace) -> None:
    import pkcs11

    keys = TokenKeys(token)
    name = keys.add()
    assert keys._session is not None
    keys._session.generate_key(pkcs11.KeyType.AES, 256, label="diwan-kek-9999-of-somebody", store=True)
    keys.refresh()
    assert keys.names() == {name}
    assert keys.current == name
