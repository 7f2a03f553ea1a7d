"""Sealed values open only where they were sealed, and any change to them is found."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.errors import NotFound, Tampered
from diwan.domain.ports import RetentionClass
from diwan.vault import aead
from diwan.vault.cipher import CaseCipher

KEYS = {retention: bytes([index]) * 32 for index, retention in enumerate(RetentionClass)}
names = st.text(max_size=40)
places = st.tuples(names, names, st.sampled_from(RetentionClass), names)


def cipher(tenant: str = "demo", scope: str = "case-1") -> CaseCipher:
    return CaseCipher(tenant, scope, KEYS)


@given(place=places, plaintext=st.binary(max_size=300))
def test_a_sealed_value_opens_in_its_place(place: tuple[str, str, RetentionClass, str], plaintext: bytes) -> None:
    tenant, scope, retention, context = place
    sealed = cipher(tenant, scope).seal(retention, context, plaintext)
    assert cipher(tenant, scope).open(retention, context, sealed) == plaintext
    assert len(sealed) == len(plaintext) + aead.OVERHEAD_BYTES


@given(here=places, there=places)
def test_it_opens_in_no_other_place(
    here: tuple[str, str, RetentionClass, str], there: tuple[str, str, RetentionClass, str]
) -> None:
    key = dict.fromkeys(RetentionClass, b"k" * 32)  # one key for all, so only the associated data tells them apart
    sealed = CaseCipher(here[0], here[1], key).seal(here[2], here[3], b"value")
    reader = CaseCipher(there[0], there[1], key)
    if here == there:
        assert reader.open(there[2], there[3], sealed) == b"value"
    else:
        with pytest.raises(Tampered):
            reader.open(there[2], there[3], sealed)


@given(plaintext=st.binary(max_size=60), data=st.data())
def test_any_flipped_bit_is_found(plaintext: bytes, data: st.DataObject) -> None:
    sealed = bytearray(cipher().seal(RetentionClass.DECISION, "c", plaintext))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(Tampered):
        cipher().open(RetentionClass.DECISION, "c", bytes(sealed))


@given(garbage=st.binary(max_size=80))
def test_bytes_that_were_never_sealed_are_refused(garbage: bytes) -> None:
    with pytest.raises(Tampered):
        cipher().open(RetentionClass.DECISION, "c", garbage)


@given(cut=st.integers(0, 33))
def test_a_cut_value_is_refused(cut: int) -> None:
    sealed = cipher().seal(RetentionClass.DECISION, "c", b"value")
    with pytest.raises(Tampered):
        cipher().open(RetentionClass.DECISION, "c", sealed[:cut])


@given(one=st.lists(names, max_size=4), other=st.lists(names, max_size=4))
def test_framing_tells_any_two_lists_apart(one: list[str], other: list[str]) -> None:
    assert (aead.frame(*one) == aead.frame(*other)) == (one == other)


def test_framing_is_not_moved_by_shifting_text_between_fields() -> None:
    assert aead.frame("ab", "c") != aead.frame("a", "bc")
    assert aead.frame("a", "") != aead.frame("a")
    assert aead.frame("\ud800") != aead.frame("?")  # a lone surrogate arrives in JSON


def test_two_seals_of_one_value_differ() -> None:
    sealed = {cipher().seal(RetentionClass.DECISION, "c", b"value") for _ in range(50)}
    assert len({each[1:13] for each in sealed}) == 50


def test_the_format_is_the_documented_one() -> None:
    key = KEYS[RetentionClass.DECISION]
    associated = b"\x01" + aead.frame("diwan.value", "demo", "case-1", "decision", "c")
    foreign = b"\x01" + b"n" * 12 + AESGCM(key).encrypt(b"n" * 12, b"value", associated)
    assert cipher().open(RetentionClass.DECISION, "c", foreign) == b"value"


def test_a_destroyed_key_says_so() -> None:
    erased = CaseCipher("demo", "case-1", {**KEYS, RetentionClass.EXCHANGE: None})
    for use in (erased.seal, erased.open):
        with pytest.raises(NotFound) as raised:
            use(RetentionClass.EXCHANGE, "c", b"value")
        assert raised.value.code == "vault.key_destroyed"
    assert erased.seal(RetentionClass.DECISION, "c", b"value")


def test_a_cipher_does_not_show_its_keys() -> None:
    assert "k" * 8 not in repr(CaseCipher("demo", "case-1", dict.fromkeys(RetentionClass, b"k" * 32)))
