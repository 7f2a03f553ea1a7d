"""The vault's keyring and the one other tests use behave alike, as diwan/domain/ports.py says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from diwan.domain.errors import NotFound, Tampered
from diwan.domain.ports import Eraser, Keyring, RetentionClass
from diwan.vault.callers import Caller
from tests.support.keyring import MemoryKeyring
from tests.vault.running import running

CONTEXT = "party.party_sealed/p-1"


@pytest.fixture(params=["vault", "memory"])
async def each_keyring(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Keyring]:
    if request.param == "memory":
        yield MemoryKeyring()
        return
    with running(folder) as vault:
        client = vault.keyring(Caller.WEB)
        yield client
        await client.aclose()


async def test_what_was_sealed_opens_with_a_cipher_asked_for_later(each_keyring: Keyring) -> None:
    sealed = (await each_keyring.cipher("demo", "case-1")).seal(RetentionClass.DECISION, CONTEXT, "فاطمة".encode())
    assert "فاطمة".encode() not in sealed
    again = await each_keyring.cipher("demo", "case-1")
    assert again.open(RetentionClass.DECISION, CONTEXT, sealed).decode() == "فاطمة"


@pytest.mark.parametrize(
    ("tenant", "scope", "retention", "context"),
    [
        ("other", "case-1", RetentionClass.DECISION, CONTEXT),
        ("demo", "case-2", RetentionClass.DECISION, CONTEXT),
        ("demo", "case-1", RetentionClass.EVIDENCE, CONTEXT),
        ("demo", "case-1", RetentionClass.DECISION, "party.party_sealed/p-2"),
    ],
)
async def test_it_opens_nowhere_else(
    each_keyring: Keyring, tenant: str, scope: str, retention: RetentionClass, context: str
) -> None:
    sealed = (await each_keyring.cipher("demo", "case-1")).seal(RetentionClass.DECISION, CONTEXT, b"value")
    elsewhere = await each_keyring.cipher(tenant, scope)
    with pytest.raises(Tampered):
        elsewhere.open(retention, context, sealed)


async def test_pseudonyms_are_equal_for_equal_values_only(each_keyring: Keyring) -> None:
    token = await each_keyring.token("demo", "party.name", "fatima zahra")
    assert token == await each_keyring.token("demo", "party.name", "fatima zahra")
    assert len(bytes.fromhex(token)) == 32
    others = [
        await each_keyring.token("demo", "party.name", "fatima zahrae"),
        await each_keyring.token("demo", "party.identity", "fatima zahra"),
        await each_keyring.token("other", "party.name", "fatima zahra"),
    ]
    assert len({token, *others}) == 4


async def test_callers_at_once_get_the_same_keys(each_keyring: Keyring) -> None:
    ciphers = await asyncio.gather(*(each_keyring.cipher("demo", "case-new") for _ in range(20)))
    sealed = [cipher.seal(RetentionClass.EVIDENCE, CONTEXT, b"value") for cipher in ciphers]
    assert {ciphers[0].open(RetentionClass.EVIDENCE, CONTEXT, each) for each in sealed} == {b"value"}
    tokens = await asyncio.gather(*(each_keyring.token("fresh", "party.name", "x") for _ in range(20)))
    assert len(set(tokens)) == 1


@pytest.fixture(params=["vault", "memory"])
async def each_pair(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[tuple[Keyring, Eraser]]:
    """A keyring and what may destroy its keys."""
    if request.param == "memory":
        both = MemoryKeyring()
        yield both, both
        return
    with running(folder) as vault:
        ring, eraser = vault.keyring(Caller.WEB, ttl=0.0), vault.keyring(Caller.ERASER)
        yield ring, eraser
        await ring.aclose()
        await eraser.aclose()


async def test_what_was_sealed_under_a_destroyed_key_is_erased(each_pair: tuple[Keyring, Eraser]) -> None:
    ring, eraser = each_pair
    cipher = await ring.cipher("demo", "case-1")
    kept, lost = (cipher.seal(each, CONTEXT, b"value") for each in (RetentionClass.DECISION, RetentionClass.EXCHANGE))
    when = await eraser.destroy("demo", "case-1", [RetentionClass.EXCHANGE], "a" * 64)
    assert set(when) == {RetentionClass.EXCHANGE}
    assert when[RetentionClass.EXCHANGE].tzinfo is not None
    assert await eraser.destroy("demo", "case-1", [RetentionClass.EXCHANGE], "b" * 64) == when
    after = await ring.cipher("demo", "case-1")
    assert after.open(RetentionClass.DECISION, CONTEXT, kept) == b"value"
    for ask in (
        lambda: after.open(RetentionClass.EXCHANGE, CONTEXT, lost),
        lambda: after.seal(RetentionClass.EXCHANGE, CONTEXT, b"new"),
    ):
        with pytest.raises(NotFound) as raised:
            ask()
        assert raised.value.code == "vault.key_destroyed"


async def test_a_key_that_never_was_cannot_come_to_be(each_pair: tuple[Keyring, Eraser]) -> None:
    ring, eraser = each_pair
    await eraser.destroy("demo", "case-9", list(RetentionClass), "a" * 64)
    cipher = await ring.cipher("demo", "case-9")
    with pytest.raises(NotFound):
        cipher.seal(RetentionClass.DECISION, CONTEXT, b"value")
