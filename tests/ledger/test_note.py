"""Signed notes: the specification's own, and everything near a note that is none."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.errors import InvalidInput, Tampered
from diwan.ledger.note import (
    COSIGNATURE,
    MAX_SIGNATURES,
    Signature,
    VerifierKey,
    check_signed,
    new_key,
    parse_lines,
    parse_note,
    parse_signing_key,
    parse_vkey,
    sign,
)

# The example of c2sp.org/signed-note.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
TEXT = "ديوان\n\nthree lines\n"


def test_the_example_of_the_specification() -> None:
    key = parse_vkey(VKEY)
    assert str(key) == VKEY
    check_signed(parse_note(NOTE), key)
    assert bytes(parse_note(NOTE)) == NOTE


def test_what_we_sign_verifies_by_our_key_alone() -> None:
    key, other = new_key("ledger.example/2026"), new_key("ledger.example/2026")
    note = parse_note(bytes(sign(TEXT, key, new_key("somebody.else"))))
    assert note.text == TEXT
    check_signed(note, parse_vkey(str(key.verifier)))
    with pytest.raises(Tampered, match="no signature"):
        check_signed(note, other.verifier)


def test_a_key_comes_back_from_its_file_and_shows_itself_nowhere_else() -> None:
    for key in (new_key("a"), new_key("b", COSIGNATURE)):
        again = parse_signing_key(str(key))
        assert again.verifier == key.verifier
        secret = str(key).rpartition("+")[2]
        assert secret not in repr(key)
        assert secret not in f"{again!r}"


@pytest.mark.parametrize("name", ["", "two words", "a+b", "no\u00a0break", "line\n", "x" * 201])
def test_names_that_no_note_can_carry(name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        new_key(name)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        VKEY[:-1],
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("530d", "530D"),
        VKEY.replace("example.com/foo", "example.com/fooo"),
        VKEY + "\n",
        "a+b",
        "example.com/foo+530d903a+" + base64.b64encode(b"\x06" + bytes(32)).decode(),
        "example.com/foo+530d903a+" + base64.b64encode(b"\x01" + bytes(31)).decode(),
    ],
)
def test_what_is_no_verifier_key(vkey: str) -> None:
    with pytest.raises(InvalidInput, match="verifier key"):
        parse_vkey(vkey)


@pytest.mark.parametrize("key", ["", "PRIVATE+KEY+a+00000000+AQ==", VKEY, str(new_key("a")).removeprefix("PRIVATE+")])
def test_what_is_no_signing_key(key: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_signing_key(key)
    assert error.value.code == "note.not_a_key"
    assert not key or key not in str(error.value)


LINE = NOTE.partition(b"\n\n")[2]
MALFORMED = {
    "no text": LINE,
    "no signature": b"text\n\n",
    "no blank line": b"text\n" + LINE,
    "no last newline": NOTE[:-1],
    "more after it": NOTE + b"\n",
    "a carriage return": NOTE.replace(b"message.\n", b"message.\r\n"),
    "a control character": NOTE.replace(b"message", b"mess\x00age"),
    "not UTF-8": NOTE.replace(b"message", b"mess\xffage"),
    "a hyphen for the dash": NOTE.replace("—".encode(), b"-"),
    "two spaces": NOTE.replace("— ".encode(), "—  ".encode()),
    "base64 without its end": NOTE.replace(b"aQM=", b"aQM"),
    "base64 in another spelling": NOTE.replace(b"aQM=", b"aQN="),
    "base64 of the other alphabet": NOTE.replace(b"Uw2QOkn8srV1yJGh2VYR", b"Uw2QOkn8srV1yJGh2V_R"),
    "an id and nothing signed": b"text\n\n" + str(Signature("a", b"1234", b"")).encode(),
    "one key twice": NOTE + LINE,
    "too many": b"text\n\n"
    + b"".join(str(Signature(f"k{n}", b"1234", b"x")).encode() for n in range(MAX_SIGNATURES + 1)),
    "too long": b"x" * 100_000 + NOTE,
}


@pytest.mark.parametrize("how", MALFORMED)
def test_what_is_near_a_note_and_is_none(how: str) -> None:
    with pytest.raises(Tampered, match="signed note"):
        parse_note(MALFORMED[how])


@given(st.integers(0, len(NOTE) * 8 - 1))
def test_no_bit_of_a_note_can_be_changed(bit: int) -> None:
    changed = bytes(byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(NOTE))
    with pytest.raises(Tampered):
        check_signed(parse_note(changed), parse_vkey(VKEY))


def test_a_signature_of_another_text_is_not_ours() -> None:
    key = new_key("a")
    other = sign("other\n", key).signatures[0]
    with pytest.raises(Tampered, match="does not verify"):
        check_signed(sign("text\n", key).with_lines([other]), key.verifier)


def test_a_key_for_cosigning_signs_no_text() -> None:
    key = new_key("w", COSIGNATURE)
    with pytest.raises(Tampered, match="does not verify"):
        check_signed(sign("text\n", key), key.verifier)


def test_lines_by_themselves_and_the_newest_of_each_key() -> None:
    a, b = new_key("a"), new_key("b")
    note = sign("text\n", a)
    lines = parse_lines(b"".join(str(each).encode() for each in sign("text\n", a, b).signatures))
    assert [each.name for each in note.with_lines(lines).signatures] == ["a", "b"]
    newest = sign("other\n", a).signatures[0]
    assert note.with_lines([newest]).signatures == (newest,)
    with pytest.raises(Tampered):
        parse_lines(b"text\n\n" + LINE)


def test_a_signature_of_a_kind_that_is_not_known_here_goes_through_unharmed() -> None:
    """ML-DSA-44 (type 6 of c2sp.org/tlog-cosignature): a key of 1,312 bytes, 8 of time and 2,420 of signature."""
    key, public = new_key("log.example"), bytes(range(256)) * 5 + bytes(32)
    note = sign("text\n", key)
    line = Signature("witness.example/1", VerifierKey("witness.example/1", 6, public).id, bytes(8) + b"s" * 2420)
    both = note.with_lines([line])
    again = parse_note(bytes(both))
    assert again == both
    assert again.signatures[1] == line
    check_signed(again, key.verifier)
    assert parse_lines(str(line).encode()) == (line,)
    with pytest.raises(InvalidInput, match="known here"):
        parse_vkey(str(VerifierKey("witness.example/1", 6, public)))
