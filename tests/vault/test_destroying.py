"""Destroying keys: for good, once, by whom, and what is left of them on disk and in the memory of callers."""

from __future__ import annotations

import contextlib
import random
import secrets
import sqlite3
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from diwan.domain.errors import NotFound, Unavailable
from diwan.domain.ports import RetentionClass
from diwan.vault import database, keyfile, rotation
from diwan.vault.callers import Caller
from diwan.vault.client import VaultKeyring
from diwan.vault.keystore import KeyStore
from tests.vault.asking import NOW, as_
from tests.vault.asking import http as http
from tests.vault.running import Vault

LATER = NOW + timedelta(days=1)
ORDER, OTHER = "a" * 64, "b" * 64
EXCHANGE = {RetentionClass.EXCHANGE}


def test_a_destroyed_key_is_gone_and_its_sisters_stay(store: KeyStore) -> None:
    made = store.keys("demo", "case-1", create=True, now=NOW).by_class
    other = store.keys("demo", "case-2", create=True, now=NOW).by_class
    assert store.destroy("demo", "case-1", EXCHANGE, ORDER, now=NOW) == {RetentionClass.EXCHANGE: NOW}
    after = store.keys("demo", "case-1", create=True, now=LATER).by_class
    assert after == {**made, RetentionClass.EXCHANGE: None}
    assert store.keys("demo", "case-2", create=True, now=NOW).by_class == other
    assert store.keys("demo-2", "case-1", create=True, now=NOW).by_class[RetentionClass.EXCHANGE]


def test_destroying_again_answers_the_same(store: KeyStore, folder: Path) -> None:
    store.keys("demo", "case-1", create=True, now=NOW)
    first = store.destroy("demo", "case-1", EXCHANGE, ORDER, now=NOW)
    generation = store.generation()
    assert store.destroy("demo", "case-1", EXCHANGE, OTHER, now=LATER) == first
    assert store.generation() == generation
    both = {RetentionClass.EXCHANGE, RetentionClass.DECISION}
    assert store.destroy("demo", "case-1", both, OTHER, now=LATER) == {**first, RetentionClass.DECISION: LATER}
    orders = store._connection.execute("SELECT class, destroyed_by FROM data_key WHERE wrapped IS NULL").fetchall()
    assert dict(orders) == {"exchange": ORDER, "decision": OTHER}


def test_a_key_that_never_was_is_never_made(store: KeyStore) -> None:
    assert store.destroy("demo", "case-9", set(RetentionClass), ORDER, now=NOW) == dict.fromkeys(RetentionClass, NOW)
    assert store.keys("demo", "case-9", create=True, now=LATER).by_class == dict.fromkeys(RetentionClass)


def test_what_was_destroyed_outlives_the_connection(store: KeyStore, folder: Path) -> None:
    store.keys("demo", "case-1", create=True, now=NOW)
    store.destroy("demo", "case-1", EXCHANGE, ORDER, now=NOW)
    again = KeyStore.open(folder / "vault.sqlite", keyfile.load(folder / "kek.json"))
    assert again.keys("demo", "case-1", create=True, now=NOW).by_class[RetentionClass.EXCHANGE] is None
    assert again.generation() == store.generation() == 1
    again.close()


def on_disk(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(folder.glob("vault.sqlite*")))


def wrapped_keys(store: KeyStore) -> dict[tuple[str, str], bytes]:
    rows = store._connection.execute("SELECT scope, class, wrapped FROM data_key WHERE wrapped IS NOT NULL").fetchall()
    return {(scope, name): wrapped for scope, name, wrapped in rows}


def test_no_byte_of_a_destroyed_key_is_left_in_the_files(store: KeyStore, folder: Path) -> None:
    """Scopes come in an order that splits pages: without secure_delete a tenth of the keys lie in the file twice."""
    chance = random.Random(7)  # noqa: S311
    scopes = [f"{chance.getrandbits(128):032x}" for _ in range(150)]
    store._connection.execute("PRAGMA synchronous = OFF")
    for scope in scopes:
        store.keys("demo", scope, create=True, now=NOW)
    before = wrapped_keys(store)
    assert all(key in on_disk(folder) for key in before.values())
    gone = chance.sample(scopes, 12)
    for scope in gone:
        store.destroy("demo", scope, EXCHANGE, ORDER, now=NOW)
    left = on_disk(folder)
    for (scope, name), key in before.items():
        found = any(key[at : at + 16] in left for at in (0, 16, 32, 45))
        assert found != (scope in gone and name == "exchange")
    assert (folder / "vault.sqlite-wal").stat().st_size == 0


def test_while_something_reads_the_log_it_says_try_again(store: KeyStore, folder: Path) -> None:
    """Destroyed it is; that no copy is left in the log is known only once the reader has gone."""
    store.keys("demo", "case-1", create=True, now=NOW)
    (key,) = (key for (_, name), key in wrapped_keys(store).items() if name == "exchange")
    store._connection.execute("PRAGMA busy_timeout = 0")
    reader = sqlite3.connect(folder / "vault.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM data_key").fetchone()
    with pytest.raises(Unavailable) as raised:
        store.destroy("demo", "case-1", EXCHANGE, ORDER, now=NOW)
    assert raised.value.code == "vault.log_in_use"
    assert key in on_disk(folder)
    assert store.keys("demo", "case-1", create=True, now=NOW).by_class[RetentionClass.EXCHANGE] is None
    reader.execute("COMMIT")
    reader.close()
    assert store.destroy("demo", "case-1", EXCHANGE, ORDER, now=LATER) == {RetentionClass.EXCHANGE: NOW}
    assert key not in on_disk(folder)


def test_a_database_of_the_first_version_is_brought_to_this_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And cleaned: what it left of moved and destroyed keys in the free parts of pages goes."""
    path = folder / "vault.sqlite"
    old = sqlite3.connect(path, isolation_level=None)
    old.execute("PRAGMA secure_delete = OFF")  # SQLite's own default; Debian's has another
    old.execute("PRAGMA synchronous = OFF")
    old.executescript(f"{database._FIRST} PRAGMA user_version = 1;")
    keyfile.create(folder / "kek.json")
    keks = keyfile.load(folder / "kek.json")
    _, kept = keks.wrap(b"k" * 32, "demo", "case-1", "exchange")
    lost = {f"old-{number}": secrets.token_bytes(61) for number in range(200)}
    old.execute("INSERT INTO kek VALUES (?, '2026-11-23')", (keks.current,))
    row = "INSERT INTO data_key VALUES ('demo', ?, 'exchange', ?, ?, '2026-11-23', NULL)"
    old.execute(row, ("case-1", keks.current, kept))
    old.executemany(row, [(scope, keks.current, key) for scope, key in lost.items()])
    old.execute("UPDATE data_key SET wrapped = NULL, destroyed_at = '2026-11-24' WHERE scope LIKE 'old-%'")
    old.close()
    assert [key for key in lost.values() if key[-16:] in path.read_bytes()]
    path.chmod(0o600)
    with monkeypatch.context() as patch:
        patch.setattr(database, "empty_log", lambda _: False)  # pyright: ignore[reportUnknownLambdaType]
        with pytest.raises(Unavailable, match="earlier version"):
            KeyStore.open(path, keks)
    with contextlib.closing(sqlite3.connect(path)) as unchanged:
        assert unchanged.execute("PRAGMA user_version").fetchone() == (1,)  # so that whoever opens it next cleans it
    store = KeyStore.open(path, keks)
    assert store.keys("demo", "case-1", create=False, now=NOW).by_class == {RetentionClass.EXCHANGE: b"k" * 32}
    assert not [key for key in lost.values() if key[-16:] in on_disk(folder)]
    assert store.destroy("demo", "case-1", EXCHANGE, ORDER, now=NOW) == {RetentionClass.EXCHANGE: NOW}
    store.close()


# As database.py made it while the second version was being made: nothing of the journal, of backups and rotations.
SECOND_EARLY = (
    database._FIRST
    + """
ALTER TABLE data_key ADD COLUMN destroyed_by TEXT;
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL) STRICT;
INSERT INTO state (one, generation) VALUES (1, 0);
PRAGMA user_version = 2;
"""
)
SECOND = (
    SECOND_EARLY
    + """
ALTER TABLE kek ADD COLUMN retired_at TEXT;
ALTER TABLE state ADD COLUMN journal_at INTEGER;
ALTER TABLE state ADD COLUMN journal_mac TEXT;
ALTER TABLE state ADD COLUMN backed_up_at TEXT;
"""
)


@pytest.mark.parametrize("made", [SECOND_EARLY, SECOND])
def test_either_database_of_the_second_version_is_brought_to_this_one(made: str, folder: Path) -> None:
    path = folder / "vault.sqlite"
    keyfile.create(folder / "kek.json")
    keks = keyfile.load(folder / "kek.json")
    old_key, wrapped = keks.wrap(b"k" * 32, "demo", "case-1", "exchange")
    old = sqlite3.connect(path, isolation_level=None)
    old.executescript(made)
    old.execute("INSERT INTO kek (id, first_used_at) VALUES (?, '2026-11-23')", (old_key,))
    old.execute(
        "INSERT INTO data_key (tenant, scope, class, kek, wrapped, created_at)"
        " VALUES ('demo', 'case-1', 'exchange', ?, ?, '2026-11-23')",
        (old_key, wrapped),
    )
    old.execute("UPDATE state SET generation = 7")
    old.close()
    path.chmod(0o600)
    store = KeyStore.open(path, keks)
    assert store.generation() == 7
    assert store.keys("demo", "case-1", create=False, now=NOW).by_class == {RetentionClass.EXCHANGE: b"k" * 32}
    assert store.destroy("demo", "case-1", EXCHANGE, ORDER, now=NOW) == {RetentionClass.EXCHANGE: NOW}
    rotation.rotate(path, keks, now=NOW, say=lambda _: None)
    rotation.retire(path, keks, old_key, now=NOW)
    with pytest.raises(sqlite3.IntegrityError, match="retired"):
        store._connection.execute(
            "UPDATE data_key SET wrapped = ?, kek = ? WHERE class = 'journal'", (wrapped, old_key)
        )
    store.close()
    KeyStore.open(path, keks).close()


# --- over HTTP ------------------------------------------------------------------------------------------------------

BODY = {"tenant": "demo", "scope": "case-1", "classes": ["exchange"], "order": ORDER}


async def test_only_the_eraser_destroys(http: httpx.AsyncClient, store: KeyStore) -> None:
    store.keys("demo", "case-1", create=True, now=NOW)
    for caller in set(Caller) - {Caller.ERASER}:
        refused = await http.post("/v1/destructions", json=BODY, headers=as_(caller))
        assert (refused.status_code, refused.json()["code"]) == (403, "vault.not_allowed")
        assert (await http.get("/v1/generation", headers=as_(caller))).json() == {"generation": 0}
    assert store.keys("demo", "case-1", create=False, now=NOW).by_class[RetentionClass.EXCHANGE]
    answer = await http.post("/v1/destructions", json=BODY, headers=as_(Caller.ERASER))
    assert (answer.status_code, answer.json()) == (200, {"destroyed": {"exchange": "2026-11-27T09:30:00Z"}})
    assert (await http.get("/v1/generation", headers=as_(Caller.ERASER))).status_code == 403
    assert (await http.get("/v1/generation")).status_code == 401


@pytest.mark.parametrize(
    "changed", [{"classes": []}, {"classes": ["all"]}, {"order": "x"}, {"order": "A" * 64}, {"scope": ""}]
)
async def test_what_is_to_be_destroyed_is_named_exactly(http: httpx.AsyncClient, changed: dict[str, object]) -> None:
    answer = await http.post("/v1/destructions", json={**BODY, **changed}, headers=as_(Caller.ERASER))
    assert (answer.status_code, answer.json()["code"]) == (422, "vault.request_malformed")


# --- callers that hold keys in memory -------------------------------------------------------------------------------


async def test_a_process_with_the_key_in_memory_forgets_it_within_half_a_minute(vault: Vault) -> None:
    now = [1000.0]
    ring = vault.keyring(Caller.WORKER, clock=lambda: now[0])
    eraser = vault.keyring(Caller.ERASER)
    cipher = await ring.cipher("demo", "case-1")
    untouched = await ring.cipher("demo", "case-2")
    sealed = cipher.seal(RetentionClass.EXCHANGE, "c", b"value")
    await eraser.destroy("demo", "case-1", EXCHANGE, ORDER)
    now[0] += 30
    after = await ring.cipher("demo", "case-1")
    with pytest.raises(NotFound) as raised:
        after.open(RetentionClass.EXCHANGE, "c", sealed)
    assert raised.value.code == "vault.key_destroyed"
    assert await ring.cipher("demo", "case-2") is not untouched
    again = await ring.cipher("demo", "case-2")
    now[0] += 30
    assert await ring.cipher("demo", "case-2") is again  # nothing was destroyed meanwhile: nothing is forgotten
    await ring.aclose()
    await eraser.aclose()


async def test_other_news_of_a_destruction_count_at_once(vault: Vault) -> None:
    """Keys of any case bring the vault's generation along."""
    ring, eraser = vault.keyring(Caller.WORKER), vault.keyring(Caller.ERASER)
    held = await ring.cipher("demo", "case-1")
    await eraser.destroy("demo", "case-1", EXCHANGE, ORDER)
    assert await ring.cipher("demo", "case-1") is held
    await ring.cipher("demo", "case-2")
    assert await ring.cipher("demo", "case-1") is not held
    await ring.aclose()
    await eraser.aclose()


async def test_a_vault_that_is_away_does_not_stop_who_has_keys_in_memory(vault: Vault) -> None:
    now = [1000.0]
    ring = vault.keyring(Caller.WORKER, ttl=100.0, clock=lambda: now[0])
    held = await ring.cipher("demo", "case-1")
    vault.kill()
    now[0] += 30
    assert await ring.cipher("demo", "case-1") is held
    now[0] += 70
    with pytest.raises(Unavailable):
        await ring.cipher("demo", "case-1")
    await ring.aclose()


async def test_who_is_not_the_eraser_is_told_that_it_cannot(vault: Vault) -> None:
    ring: VaultKeyring = vault.keyring(Caller.WORKER)
    with pytest.raises(Unavailable) as raised:
        await ring.destroy("demo", "case-1", EXCHANGE, ORDER)
    assert raised.value.code == "vault.not_allowed"
    await ring.aclose()
