"""Entries: one encoding, no room for anything else, commitments that bind and hide."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from diwan.domain.errors import Final, Tampered
from diwan.ledger.entry import (
    MAX_HEADER_BYTES,
    EntryActor,
    EntryApproval,
    EntryHeader,
    EntryModel,
    canonical,
    check_header,
    commit,
    encode,
    entry_hash,
    keyed_hash,
)
from tests.support.strategies import json_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)
SCALAR = st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT
SAID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
MODELS = st.builds(
    EntryModel,
    name=SAID,
    sampling=st.dictionaries(TEXT, SCALAR, max_size=3),
    seed=st.none() | st.integers(0, 9),
)
HEADERS = st.builds(
    EntryHeader,
    tenant=SAID,
    chain=SAID,
    seq=st.integers(1, 2**53 - 1),
    prev=st.none() | HEX,
    at=st.datetimes(timezones=st.just(UTC)),
    kind=st.sampled_from(["event:application:accepted", "case:step:moved"]),
    actor=st.builds(EntryActor, kind=SAID, subject=SAID, roles=st.lists(TEXT, max_size=3).map(tuple)),
    case=TEXT,
    case_seq=st.integers(0, 100),
    step=TEXT,
    visit=st.integers(0, 9),
    model=st.none() | MODELS,
    commitments=st.dictionaries(TEXT, HEX, max_size=3),
    approval=st.none() | st.builds(EntryApproval, shown=SAID, decided=SAID, overridden=st.booleans()),
    detail=st.dictionaries(TEXT, SCALAR, max_size=3),
)


def header(**changed: Any) -> EntryHeader:
    values: dict[str, Any] = {
        "tenant": "demo",
        "chain": "c-1",
        "seq": 1,
        "at": datetime(2026, 11, 23, 9, 30, tzinfo=UTC),
        "kind": "case:step:moved",
        "actor": EntryActor(kind="system", subject="worker"),
    }
    return EntryHeader(**{**values, **changed})


@given(HEADERS)
def test_what_is_encoded_reads_back_and_encodes_the_same(made: EntryHeader) -> None:
    encoded = encode(made)
    assert check_header(encoded) == made
    assert encode(check_header(encoded)) == encoded


def test_the_encoding_is_canonical_json_without_empty_fields() -> None:
    assert encode(header()) == (
        b'{"actor":{"kind":"system","subject":"worker"},"at":"2026-11-23T09:30:00.000000Z","chain":"c-1",'
        b'"kind":"case:step:moved","seq":1,"tenant":"demo","v":1}'
    )


def test_the_hash_is_the_leaf_hash_of_rfc_6962() -> None:
    assert entry_hash(b"abc") == hashlib.sha256(b"\x00abc").digest()


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_the_keyed_hash_is_hmac(key: bytes, message: bytes) -> None:
    assert keyed_hash(key, message) == hmac.digest(key, message, "sha256")


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_has_its_length(length: int) -> None:
    with pytest.raises(Final):
        keyed_hash(bytes(length), b"")


def test_an_instant_is_written_in_utc() -> None:
    local = datetime(2026, 11, 23, 10, 30, tzinfo=timezone(timedelta(hours=1)))
    assert encode(header(at=local)) == encode(header())
    with pytest.raises(ValidationError):
        header(at=datetime(2026, 11, 23))  # noqa: DTZ001 - that is the point


def test_false_and_a_seed_of_zero_are_said() -> None:
    said = json.loads(
        encode(
            header(
                model=EntryModel(name="m", seed=0),
                approval=EntryApproval(shown="s", decided="d", overridden=False),
                detail={"ok": False, "count": 0},
            )
        )
    )
    assert said["model"]["seed"] == 0
    assert said["approval"]["overridden"] is False
    assert said["detail"] == {"ok": False, "count": 0}


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "moved"},
        {"kind": "Case:Step:Moved"},
        {"seq": 0},
        {"prev": "ff"},
        {"detail": {"n": 2**53}},
        {"detail": {"n": 1.5}},
        {"detail": {"long": "x" * 401}},
        {"unknown": 1},
        {"tenant": ""},
    ],
)
def test_a_header_holds_nothing_else(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        header(**changed)


def test_errors_of_a_header_repeat_no_values() -> None:
    with pytest.raises(ValidationError) as caught:
        header(detail={"n": "Zineb-Secrete" * 100})
    assert "Zineb" not in str(caught.value)


def test_a_header_is_at_most_4_kib() -> None:
    detail = {f"k{n}": "x" * 400 for n in range(11)}
    with pytest.raises(Final) as caught:
        encode(header(detail=detail))
    assert caught.value.code == "entry.too_large"
    detail.pop("k10")
    detail.pop("k9")
    assert len(encode(header(detail=detail))) <= MAX_HEADER_BYTES


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"[]",
        b"{}",
        b'{"v":1}',
        encode(header()) + b" ",
        encode(header()).replace(b'"seq":1', b'"seq": 1'),
        encode(header()).replace(b'"seq":1', b'"seq":1,"seq":1'),
        encode(header()).replace(b'"v":1', b'"step":"","v":1'),
        encode(header()).replace(b".000000Z", b"Z"),
        encode(header()).replace(b'"v":1', b'"v":2'),
        b"x" * (MAX_HEADER_BYTES + 1),
    ],
)
def test_other_bytes_are_no_header(stored: bytes) -> None:
    with pytest.raises(Tampered):
        check_header(stored)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_commitment_opens_with_its_value_only(value: bytes, other: bytes) -> None:
    salt = secrets.token_bytes(32)
    assert commit(salt, value) == commit(salt, value)
    assert (commit(salt, value) == commit(salt, other)) == (value == other)
    assert commit(salt, value) != commit(secrets.token_bytes(32), value)


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_salt_has_one_length(length: int) -> None:
    with pytest.raises(Final):
        commit(bytes(length), b"value")


NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)


@given(json_of(NUMBERS | TEXT, TEXT))
def test_the_quick_way_to_canonical_bytes_gives_the_same_bytes(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [2**53, {"a": -(2**60)}, "\ud800", {"\ud800": 1}, float("nan"), {1: 2}])
def test_what_has_no_canonical_bytes_is_refused(value: Any) -> None:
    with pytest.raises((rfc8785.CanonicalizationError, UnicodeEncodeError)):
        canonical(value)


def test_keys_are_ordered_by_utf_16_units() -> None:
    """By bytes of UTF-8 the second key would come last (RFC 8785, 3.2.3)."""
    assert canonical({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'.encode()
