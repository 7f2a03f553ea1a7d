"""One field of a body is shown without the rest: what is shown is bound, what is not is hidden."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import replace
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.errors import Final, Tampered
from diwan.ledger.entry import canonical
from diwan.ledger.fields import (
    MOST_MEMBERS,
    Disclosure,
    Shown,
    check_fields,
    commit_fields,
    disclose,
    joined,
    named,
    pack_disclosure,
    split,
    unpack_disclosure,
)
from tests.support.strategies import json_of

SEED = bytes(range(32))
BODY: dict[str, Any] = {
    "reason": "دخل غير كافٍ",
    "amount": 1250,
    "granted": True,
    "proposal": {"result": "granted", "grounds": ["R1", "R2"], "of": {"iban": "FR76"}},
    "people": {"Fatima": "mother", "ali": "child"},
    "none": {},
}
NAMES = st.from_regex(r"\A[a-z][a-z0-9_]{0,8}\Z")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
VALUES = json_of(st.integers(-(2**53) + 1, 2**53 - 1) | TEXT, NAMES | TEXT)
BODIES = st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, max_size=4), max_size=5)


def test_the_fields_of_a_body_are_its_members_and_theirs() -> None:
    assert split(BODY) == {
        "/reason": BODY["reason"],
        "/amount": 1250,
        "/granted": True,
        "/proposal/result": "granted",
        "/proposal/grounds": ["R1", "R2"],
        "/proposal/of": {"iban": "FR76"},
        "/people": BODY["people"],  # one of its names is data: nobody sees it who does not see the field
        "/none": {},
    }


def test_an_object_of_very_many_members_is_one_field() -> None:
    many = {f"n{number}": number for number in range(MOST_MEMBERS)}
    assert len(split({"a": many})) == MOST_MEMBERS
    assert split({"a": many | {"more": 1}}) == {"/a": many | {"more": 1}}


@pytest.mark.parametrize("name", ["Fatima", "", "a/b", "a~1", "IBAN 12", "é", "a\n", "1", "a" * 61])
def test_a_name_of_a_bodys_own_is_never_data(name: str) -> None:
    with pytest.raises(Final):
        commit_fields(SEED, {name: 1})
    assert split({"of": {name: 1, "b": 2}}) == {"/of": {name: 1, "b": 2}}


def test_the_commitment_is_what_the_page_says() -> None:
    """docs/ledger.md, worked out by hand."""

    def one(pointer: str, value: bytes) -> str:
        salt = hmac.new(SEED, pointer.encode(), hashlib.sha256).digest()
        return hmac.new(salt, hashlib.sha256(value).digest(), hashlib.sha256).hexdigest()

    said = {"/a": one("/a", b"1"), "/b/c": one("/b/c", b'["x",null]')}
    assert commit_fields(SEED, {"b": {"c": ["x", None]}, "a": 1}) == hashlib.sha256(rfc8785.dumps(said)).hexdigest()


@given(BODIES, st.binary(min_size=32, max_size=32), st.data())
def test_any_of_the_fields_are_shown_and_checked(body: dict[str, Any], seed: bytes, data: st.DataObject) -> None:
    commitment = commit_fields(seed, body)
    pointers = data.draw(st.sets(st.sampled_from(sorted(split(body)) or ["/none"])))
    made = disclose(seed, body, lambda pointer: pointer in pointers)
    assert set(made.shown) == pointers & split(body).keys()
    assert check_fields(made, commitment) == {p: v for p, v in split(body).items() if p in pointers}
    again = unpack_disclosure(pack_disclosure(made))
    assert pack_disclosure(again) == pack_disclosure(made)
    assert canonical(check_fields(again, commitment)) == canonical(check_fields(made, commitment))
    whole = disclose(seed, body, lambda pointer: True)
    assert canonical(joined(check_fields(whole, commitment))) == canonical(body)
    # What was sealed and read again is the same body.
    assert commit_fields(seed, orjson.loads(orjson.dumps(body))) == commitment


def test_a_pointer_names_what_is_below_it_and_nothing_beside() -> None:
    made = disclose(SEED, BODY, named(["/proposal", "/reason"]))
    assert sorted(made.shown) == ["/proposal/grounds", "/proposal/of", "/proposal/result", "/reason"]
    assert not disclose(SEED, BODY, named(["/prop", "/proposal/res", "proposal"])).shown


def test_what_is_hidden_cannot_be_guessed() -> None:
    """Whoever knows all but a yes or no, and every salt that was given away, learns nothing of it."""
    made = disclose(SEED, BODY, named(["/reason", "/amount"]))
    assert len({field.salt for field in made.shown.values()} | {SEED}) == 3
    for value in (b"true", b"false"):
        for salt in [*(field.salt for field in made.shown.values()), bytes(32)]:
            guess = hmac.digest(salt, hashlib.sha256(value).digest(), "sha256")
            below = hmac.digest(salt, b"/granted", "sha256")
            assert made.hidden["/granted"] not in (guess, hmac.digest(below, hashlib.sha256(value).digest(), "sha256"))
    other = disclose(secrets.token_bytes(32), BODY, named([]))
    assert not set(other.hidden.values()) & set(disclose(SEED, BODY, named([])).hidden.values())


def _harm(made: Disclosure) -> dict[str, Disclosure]:
    shown, hidden = dict(made.shown), dict(made.hidden)
    reason, amount = shown["/reason"], shown["/amount"]
    return {
        "another value": replace(made, shown=shown | {"/amount": replace(amount, value=1251)}),
        "true for 1": replace(made, shown=shown | {"/granted": replace(shown["/granted"], value=1)}),
        "a number as text": replace(made, shown=shown | {"/amount": replace(amount, value="1250")}),
        "another salt": replace(made, shown=shown | {"/amount": replace(amount, salt=reason.salt)}),
        "a longer salt": replace(made, shown=shown | {"/amount": replace(amount, salt=amount.salt + b"\0")}),
        "a shorter salt": replace(made, shown=shown | {"/amount": replace(amount, salt=amount.salt[:-1])}),
        "two exchanged": replace(made, shown=shown | {"/amount": reason, "/reason": amount}),
        "one less": replace(made, shown={p: f for p, f in shown.items() if p != "/amount"}),
        "one hidden less": replace(made, hidden={p: c for p, c in hidden.items() if p != "/none"}),
        "one more": replace(made, shown=shown | {"/more": amount}),
        "one hidden more": replace(made, hidden=hidden | {"/more": bytes(32)}),
        "a hidden one changed": replace(made, hidden=hidden | {"/none": bytes(32)}),
        "a hidden one shorter": replace(made, hidden=hidden | {"/none": hidden["/none"][:-1]}),
        "shown and hidden": replace(made, hidden=hidden | {"/amount": bytes(32)}),
        "another name": Disclosure({p.replace("amount", "sum"): f for p, f in shown.items()}, hidden),
        "a name above": replace(made, shown=shown | {"/proposal": amount}),
        "a pointer of nothing": replace(made, shown=shown | {"": amount}),
        "a pointer too deep": replace(made, shown=shown | {"/a/b/c": amount}),
        "a number beyond all": replace(made, shown=shown | {"/amount": replace(amount, value=2**60)}),
        "nothing": Disclosure({}, {}),
    }


HONEST = disclose(SEED, BODY, named(["/reason", "/amount", "/granted"]))


@pytest.mark.parametrize("harm", _harm(HONEST))
def test_what_is_shown_otherwise_is_refused(harm: str) -> None:
    commitment = commit_fields(SEED, BODY)
    assert check_fields(HONEST, commitment) == {"/reason": BODY["reason"], "/amount": 1250, "/granted": True}
    with pytest.raises(Tampered):
        check_fields(_harm(HONEST)[harm], commitment)


def test_nothing_but_the_compact_form_is_read() -> None:
    packed = pack_disclosure(HONEST)
    assert check_fields(unpack_disclosure(packed), commit_fields(SEED, BODY))
    field = b"\x02/a" + b"\x00\x02" + bytes(32)
    hidden = b"\x02/a" + bytes(2 + 32)
    assert unpack_disclosure(b"\x01" + field + b"1").shown == {"/a": Shown(bytes(32), 1)}
    for content in (
        b"",
        packed[:-1],
        packed + b"\0",
        b"\x01" + field + b" ",
        b"\x01" + field.replace(b"\x02/a", b"\x02/A") + b"1",
        b"\x01" + b"\x02/a" + b"\x00\x04" + bytes(32) + b"1.0",
        b"\x01" + b"\x02/a" + b"\x00\x06" + bytes(32) + b"1e999",
        b"\x01" + b"\x02/a" + b"\x00\x14" + bytes(32) + b"9" * 19,
        b"\x02" + hidden + hidden,
        b"\x02" + hidden.replace(b"/a", b"/b") + hidden,
        b"\x02" + hidden + b"\x04/a/b" + bytes(2 + 32),
    ):
        with pytest.raises(Tampered):
            unpack_disclosure(content)


def test_what_the_compact_form_cannot_say_is_said() -> None:
    with pytest.raises(Final):
        pack_disclosure(disclose(SEED, {"a": "x" * 65_534}, named(["/a"])))
    assert pack_disclosure(disclose(SEED, {"a": "x" * 65_532}, named(["/a"])))
    many = {f"n{number}": number for number in range(32)}
    with pytest.raises(Final):
        pack_disclosure(disclose(SEED, {f"m{number}": many for number in range(8)}, named([])))


def test_a_seed_has_its_length() -> None:
    with pytest.raises(Final):
        commit_fields(SEED[:-1], BODY)
