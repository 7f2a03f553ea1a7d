"""The client: what it keeps in memory, when it tries again, what it makes of errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from diwan.domain.errors import InvalidInput, NotFound, Tampered, Unavailable
from diwan.domain.ports import RetentionClass
from diwan.vault.callers import Caller
from diwan.vault.client import VaultKeyring
from tests.vault.running import Vault, no_pause


class Answers:
    """A server on a unix socket that gives each connection's request the next canned answer; counts requests."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(
            next(line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        )
        self.requests.append(head + await reader.readexactly(length))
        writer.write(self.answers.pop(0))
        await writer.drain()
        writer.close()

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncGenerator[None, None]:
        server = await asyncio.start_unix_server(self, path)
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()


def http(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


def problem(error: str, status: int, code: str = "some.code") -> bytes:
    return http(status, b'{"error":"%s","code":"%s","message":"m","remedy":"r"}' % (error.encode(), code.encode()))


DROPPED = b""
PSEUDONYM = http(200, b'{"pseudonym":"abc"}')
BUSY = problem("Unavailable", 503, "vault.disk_full")


@asynccontextmanager
async def client_of(folder: Path, *answers: bytes) -> AsyncGenerator[tuple[VaultKeyring, Answers, list[float]], None]:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    server = Answers(*answers)
    async with server.listening(folder / "canned.sock"):
        client = VaultKeyring(str(folder / "canned.sock"), "a-token", pause=pause)
        try:
            yield client, server, pauses
        finally:
            await client.aclose()


async def test_a_vault_says_which_keys_wrap_the_cases_keys(vault: Vault) -> None:
    async with contextlib.aclosing(vault.keyring(Caller.WORKER)) as ring:
        (epoch,) = await ring.epochs()
    assert (epoch.name[:4], epoch.begun_at.tzinfo is not None, epoch.retired_at) == ("kek-", True, None)
    async with contextlib.aclosing(vault.keyring(Caller.ERASER)) as eraser:
        with pytest.raises(Unavailable):
            await eraser.epochs()


async def test_a_vault_that_is_away_for_a_moment_is_asked_again(folder: Path) -> None:
    async with client_of(folder, DROPPED, BUSY, PSEUDONYM) as (client, server, pauses):
        assert await client.token("demo", "party.name", "x") == "abc"
        assert len(server.requests) == 3
        assert pauses == [0.1, 0.2]


async def test_in_the_end_it_is_unavailable_with_the_vaults_own_reason(folder: Path) -> None:
    async with client_of(folder, *[BUSY] * 5) as (client, server, pauses):
        with pytest.raises(Unavailable) as raised:
            await client.cipher("demo", "case-1")
        assert raised.value.code == "vault.disk_full"
        assert len(server.requests) == 5
        assert sum(pauses) < 2


async def test_no_vault_at_all_is_unavailable(folder: Path) -> None:
    client = VaultKeyring(str(folder / "nobody.sock"), "a-token", pause=no_pause)
    for ask in (client.ready, lambda: client.cipher("demo", "case-1")):
        with pytest.raises(Unavailable) as raised:
            await ask()
        assert raised.value.code == "vault.not_answering"
        assert "a-token" not in str(raised.value)
    await client.aclose()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (problem("NotFound", 404), NotFound),
        (problem("Tampered", 500), Tampered),
        (problem("InvalidInput", 422), InvalidInput),
    ],
)
async def test_what_will_not_change_is_not_asked_again(folder: Path, answer: bytes, expected: type[Exception]) -> None:
    async with client_of(folder, answer) as (client, server, _):
        with pytest.raises(expected):
            await client.cipher("demo", "case-1")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        problem("Unauthenticated", 401),
        problem("Refused", 403),
        problem("DiwanError", 500),
        http(200, b'{"keys":{"decision":"!"}}'),
        http(200, b'{"keys":{"decision":"MDEyMzQ1Njc4OWFiY2RlZg=="}}'),
        http(200, b"<html>"),
        http(404, b"<html>"),
        http(500, b"Internal Server Error"),
    ],
)
async def test_trouble_between_us_and_the_vault_is_never_the_callers_fault(folder: Path, answer: bytes) -> None:
    """A process with a wrong token must not answer its own users 401 or 403."""
    async with client_of(folder, *[answer] * 5) as (client, _, _):
        with pytest.raises(Unavailable):
            await client.cipher("demo", "case-1")


async def test_the_value_of_a_pseudonym_does_not_travel(folder: Path) -> None:
    async with client_of(folder, PSEUDONYM) as (client, server, _):
        await client.token("demo", "party.identity", "ZZ100001")
        assert b"ZZ100001" not in server.requests[0]
        assert b'"purpose":"party.identity"' in server.requests[0]


@pytest.mark.parametrize("scope", ["", "two words", "nul\x00", "é", "x" * 256, "line\n", "\ud800"])
async def test_a_name_that_could_be_mistaken_is_refused(folder: Path, scope: str) -> None:
    client = VaultKeyring(str(folder / "nobody.sock"), "token", pause=no_pause)
    with pytest.raises(InvalidInput) as refused:
        await client.cipher("demo", scope)
    assert refused.value.code == "vault.name_unusable"
    await client.aclose()


@pytest.mark.parametrize(
    "location", ["http://10.0.0.7:8300", "https://vault.example", "http://127.0.0.1", "vault.sock", "http://x:y", ""]
)
def test_keys_do_not_cross_a_network(location: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        VaultKeyring(location, "token")
    assert raised.value.code == "vault.address_not_local"


def test_a_socket_path_too_long_for_the_kernel_is_explained() -> None:
    with pytest.raises(InvalidInput) as raised:
        VaultKeyring("unix:/tmp/" + "x" * 103, "token")
    assert "107" in raised.value.message
    assert "/run/diwan/vault.sock" in raised.value.remedy


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def cached(vault: Vault) -> AsyncIterator[tuple[VaultKeyring, Clock, Callable[[], None]]]:
    clock = Clock()
    client = vault.keyring(Caller.WEB, capacity=2, ttl=60.0, clock=clock)
    yield client, clock, vault.kill
    await client.aclose()


async def test_a_cipher_in_memory_needs_no_vault_until_it_is_stale(
    cached: tuple[VaultKeyring, Clock, Callable[[], None]],
) -> None:
    client, clock, kill = cached
    cipher = await client.cipher("demo", "case-1")
    kill()
    clock.now += 59
    assert await client.cipher("demo", "case-1") is cipher
    clock.now += 1
    with pytest.raises(Unavailable):
        await client.cipher("demo", "case-1")


async def test_only_the_least_used_ciphers_are_forgotten(
    cached: tuple[VaultKeyring, Clock, Callable[[], None]],
) -> None:
    client, _, kill = cached
    first, second = await client.cipher("demo", "a"), await client.cipher("demo", "b")
    assert await client.cipher("demo", "a") is first
    third = await client.cipher("demo", "c")
    kill()
    assert await client.cipher("demo", "a") is first
    assert await client.cipher("demo", "c") is third
    with pytest.raises(Unavailable):
        await client.cipher("demo", "b")
    assert second is not None


async def test_a_stale_cipher_does_not_linger_in_memory(
    cached: tuple[VaultKeyring, Clock, Callable[[], None]],
) -> None:
    client, clock, _ = cached
    await client.cipher("demo", "a")
    clock.now += 60
    await client.cipher("demo", "b")
    assert list(client._ciphers) == [("demo", "b")]


async def test_a_pool_worker_opens_what_a_web_process_sealed(vault: Vault) -> None:
    web, pool = vault.keyring(Caller.WEB), vault.keyring(Caller.POOL)
    with pytest.raises(NotFound):
        await pool.cipher("demo", "case-1")
    sealed = (await web.cipher("demo", "case-1")).seal(RetentionClass.EXCHANGE, "c", b"request")
    assert (await pool.cipher("demo", "case-1")).open(RetentionClass.EXCHANGE, "c", sealed) == b"request"
    with pytest.raises(Unavailable):
        await pool.token("demo", "party.name", "x")
    await web.aclose()
    await pool.aclose()
