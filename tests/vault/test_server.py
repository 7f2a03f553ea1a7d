"""The vault's application: who may ask for what, what it answers, what it never says."""

from __future__ import annotations

import base64
import json

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from diwan.domain.errors import NeedsPerson
from diwan.domain.ports import RetentionClass
from diwan.vault import callers
from diwan.vault.callers import Caller
from diwan.vault.keystore import KeyStore
from tests.vault.asking import NOW, TOKENS, as_
from tests.vault.asking import http as http

KEYS = {"tenant": "demo", "scope": "case-1"}
PSEUDONYM = {"tenant": "demo", "purpose": "party.name", "digest": "0" * 64}


@pytest.mark.parametrize(
    ("caller", "path", "before", "after"),
    [
        (Caller.WEB, "keys", 200, 200),
        (Caller.WORKER, "keys", 200, 200),
        (Caller.POOL, "keys", 404, 200),
        (Caller.AUDITOR, "keys", 404, 200),
        (Caller.WEB, "pseudonyms", 200, 200),
        (Caller.WORKER, "pseudonyms", 200, 200),
        (Caller.POOL, "pseudonyms", 403, 403),
        (Caller.AUDITOR, "pseudonyms", 404, 200),
        (Caller.ERASER, "keys", 403, 403),
        (Caller.ERASER, "pseudonyms", 403, 403),
    ],
)
async def test_what_each_caller_may_do(
    http: httpx.AsyncClient, store: KeyStore, caller: Caller, path: str, before: int, after: int
) -> None:
    """`before` and `after` the keys exist: only web and worker make them."""
    body = KEYS if path == "keys" else PSEUDONYM
    assert (await http.post(f"/v1/{path}", json=body, headers=as_(caller))).status_code == before
    store.keys("demo", "case-1", create=True, now=NOW)
    store.pseudonym_key("demo", create=True, now=NOW)
    assert (await http.post(f"/v1/{path}", json=body, headers=as_(caller))).status_code == after


async def test_a_pool_worker_gets_the_cache_salt_and_no_other_pseudonym(
    http: httpx.AsyncClient, store: KeyStore
) -> None:
    store.pseudonym_key("demo", create=True, now=NOW)
    salt = {**PSEUDONYM, "purpose": callers.CACHE_SALT}
    assert (await http.post("/v1/pseudonyms", json=salt, headers=as_(Caller.POOL))).status_code == 200
    assert (await http.post("/v1/pseudonyms", json=PSEUDONYM, headers=as_(Caller.POOL))).status_code == 403


async def test_epochs_are_told_by_name_and_no_key_with_them(http: httpx.AsyncClient, store: KeyStore) -> None:
    store.keys("demo", "case-1", create=True, now=NOW)
    for caller in set(Caller) - {Caller.ERASER}:
        (epoch,) = (await http.get("/v1/epochs", headers=as_(caller))).json()["epochs"]
        assert set(epoch) == {"name", "begun_at", "retired_at"}
        assert epoch["name"].startswith("kek-")
        assert len(epoch["name"]) == len("kek-") + 16
    assert (await http.get("/v1/epochs", headers=as_(Caller.ERASER))).status_code == 403
    assert (await http.get("/v1/epochs")).status_code == 401


def test_every_caller_has_its_rights_written_down() -> None:
    assert set(callers.RIGHTS) == set(Caller)


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer nonsense", f"Basic {TOKENS[Caller.WEB]}", f"{TOKENS[Caller.WEB]}"],
)
@pytest.mark.parametrize("path", ["/v1/keys", "/v1/pseudonyms"])
async def test_without_a_known_token_there_is_nothing(
    http: httpx.AsyncClient, store: KeyStore, authorization: str | None, path: str
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    answer = await http.post(path, json=KEYS, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["code"] == "vault.token_unknown"
    held = store._connection.execute("SELECT count(*) FROM data_key WHERE class <> 'journal'").fetchone()
    assert held == (0,)


async def test_keys_come_whole_and_are_not_to_be_cached(http: httpx.AsyncClient, store: KeyStore) -> None:
    answer = await http.post("/v1/keys", json=KEYS, headers=as_(Caller.WEB))
    assert answer.headers["cache-control"] == "no-store"
    keys = {RetentionClass(name): base64.b64decode(key) for name, key in answer.json()["keys"].items()}
    assert keys == store.keys("demo", "case-1", create=False, now=NOW).by_class


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"tenant":"demo"}',
        b'{"tenant":"demo","scope":""}',
        b'{"tenant":"demo","scope":"two words"}',
        b'{"tenant":"demo","scope":"nul\\u0000"}',
        b'{"tenant":"demo","scope":"line\\n"}',
        b'{"tenant":"demo","scope":"\\ud800"}',
        b'{"tenant":"demo","scope":5}',
        b'{"tenant":"demo","scope":"case-1","create":true}',
        b'{"tenant":"demo","scope":"' + b"x" * 256 + b'"}',
        b"[" * 5000,
        b"\xff\xfe",
    ],
)
async def test_a_malformed_request_is_refused_without_repeating_it(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post("/v1/keys", content=body, headers=as_(Caller.WEB))
    assert (answer.status_code, answer.json()["code"]) == (422, "vault.request_malformed")
    assert "words" not in answer.text


async def test_a_huge_request_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/keys", content=b"x" * 9000, headers=as_(Caller.WEB))
    assert (answer.status_code, answer.json()["code"]) == (413, "vault.request_too_large")


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "0" * 64 + "\n"])
async def test_a_pseudonym_is_of_a_digest_only(http: httpx.AsyncClient, digest: str) -> None:
    answer = await http.post("/v1/pseudonyms", json={**PSEUDONYM, "digest": digest}, headers=as_(Caller.WEB))
    assert answer.status_code == 422


async def test_health_says_nothing_and_asks_no_token(http: httpx.AsyncClient, store: KeyStore) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await http.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    store.close()
    assert (await http.get("/healthz")).status_code == 200
    assert (await http.get("/readyz")).status_code == 503


async def test_a_damaged_row_is_reported_as_such(http: httpx.AsyncClient, store: KeyStore) -> None:
    store.keys("demo", "case-1", create=True, now=NOW)
    store._connection.execute("UPDATE data_key SET wrapped = randomblob(61)")
    answer = await http.post("/v1/keys", json=KEYS, headers=as_(Caller.WEB))
    assert answer.status_code == 500
    assert (answer.json()["error"], answer.json()["code"]) == ("Tampered", "vault.key_does_not_unwrap")


async def test_logs_hold_neither_token_nor_key(http: httpx.AsyncClient, store: KeyStore) -> None:
    structlog.reset_defaults()
    with capture_logs() as logs:
        answer = await http.post("/v1/keys", json=KEYS, headers=as_(Caller.WEB))
        await http.post("/v1/keys", json=KEYS, headers={"authorization": "Bearer wrong-token"})
        await http.post("/v1/pseudonyms", json=PSEUDONYM, headers=as_(Caller.POOL))
        store._connection.execute("UPDATE data_key SET kek = kek, wrapped = randomblob(61)")
        await http.post("/v1/keys", json=KEYS, headers=as_(Caller.WEB))
    said = json.dumps(logs)
    assert [line["event"] for line in logs] == [
        "vault.caller.refused",
        "vault.right.refused",
        "request.failed",
    ]
    secrets = [*TOKENS.values(), "wrong-token", *answer.json()["keys"].values()]
    assert not [each for each in secrets if each in said]


def test_token_files_are_checked_as_keys_are(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("callers")
    path = folder / "callers.json"
    callers.write_hashes(path, {Caller.WEB: callers.hash_of("a")})
    assert callers.load_hashes(path) == {Caller.WEB: callers.hash_of("a")}
    path.chmod(0o640)
    with pytest.raises(NeedsPerson):
        callers.load_hashes(path)
    path.chmod(0o600)
    path.write_text('{"web": "short"}')
    with pytest.raises(NeedsPerson) as raised:
        callers.load_hashes(path)
    assert raised.value.code == "vault.callers_malformed"
    path.write_text("\n")
    with pytest.raises(NeedsPerson) as raised:
        callers.read_token(path)
    assert raised.value.code == "vault.token_empty"
