"""A letter's receipt shows what it says to whoever holds the policy, and nothing once a sign of it is changed."""

from __future__ import annotations

import dataclasses
import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.errors import Tampered
from diwan.ledger.receipt import (
    PREFIX,
    Receipt,
    check_letter,
    check_receipt,
    find_receipt,
    pack,
    unpack,
)
from diwan.ledger.receipt_code import ALPHABET, chain_of, code_of, read_code
from tests.ledger import receipts
from tests.ledger.receipts import CODE, LETTER, Issued, issued, witness

SIGNS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ$*+-./:"


@pytest.fixture(scope="module")
def made() -> Issued:
    return issued(witnesses=(witness("witness.example/one"),))


def refused(receipt: Receipt | str, made: Issued) -> str:
    with pytest.raises(Tampered) as caught:
        check_receipt(unpack(receipt) if isinstance(receipt, str) else receipt, made.policy)
    return caught.value.code


def test_a_receipt_says_what_was_issued(made: Issued) -> None:
    checked = check_receipt(unpack(pack(made.receipt)), made.policy)
    assert checked.facts == receipts.facts()
    assert (checked.tenant, checked.at, checked.index) == ("demo", receipts.AT, 50)
    assert (checked.checkpoint.origin, checked.checkpoint.size) == ("ledger.example/2026", 101)
    check_letter(checked, LETTER)
    with pytest.raises(Tampered) as caught:
        check_letter(checked, LETTER + b"\n")
    assert caught.value.code == "receipt.letter_differs"


def test_a_receipt_is_text_that_survives_being_copied(made: Issued) -> None:
    text = pack(made.receipt)
    assert set(text) <= set(SIGNS)
    assert unpack(f"\n  {text[:100]}\r\n{text[100:]} \n") == made.receipt
    assert find_receipt(b"%PDF (" + text.encode() + b") <x>" + text.encode() + b"</x>") == text
    for content in (b"", b"DR1", (text + " " + text[:-3]).encode()):
        with pytest.raises(Tampered):
            find_receipt(content)


def test_every_changed_sign_is_refused(made: Issued) -> None:
    """A few thousand, by seed: replaced, left out, doubled, swapped, cut off, and bytes of the inside changed."""
    text, dice = pack(made.receipt), random.Random(6962)  # noqa: S311 - to be repeated
    for _ in range(2_500):
        at = dice.randrange(len(PREFIX), len(text) - 1)
        changed = dice.choice(
            [
                text[:at] + dice.choice(SIGNS.replace(text[at], "")) + text[at + 1 :],
                text[:at] + text[at + 1 :],
                text[:at] + text[at] + text[at:],
                text[:at] + text[at + 1] + text[at] + text[at + 2 :] if text[at] != text[at + 1] else text[:-1],
                text[:at],
                text + dice.choice(SIGNS),
            ]
        )
        assert refused(changed, made) in ("receipt.misread", "receipt.malformed")


def test_every_changed_byte_is_refused_though_its_check_is_made_anew(made: Issued) -> None:
    """As somebody would who forges: each byte of what the receipt holds, packed again with a right check."""
    dice = random.Random(9162)  # noqa: S311 - to be repeated
    receipt = made.receipt
    for field in ("header", "facts", "salt"):
        value: bytes = getattr(receipt, field)
        for at in range(len(value)):
            changed = value[:at] + bytes([value[at] ^ dice.randrange(1, 256)]) + value[at + 1 :]
            assert refused(dataclasses.replace(receipt, **{field: changed}), made)
    for number, beside in enumerate(receipt.hashes):
        for at in range(32):
            changed = beside[:at] + bytes([beside[at] ^ dice.randrange(1, 256)]) + beside[at + 1 :]
            hashes = (*receipt.hashes[:number], changed, *receipt.hashes[number + 1 :])
            assert refused(dataclasses.replace(receipt, hashes=hashes), made)
    for number, line in enumerate(receipt.signatures):
        for at in range(len(line.content)):
            content = line.content[:at] + bytes([line.content[at] ^ dice.randrange(1, 256)]) + line.content[at + 1 :]
            lines = list(receipt.signatures)
            lines[number] = dataclasses.replace(line, content=content)
            assert refused(dataclasses.replace(receipt, signatures=tuple(lines)), made)
    for change in (
        {"index": receipt.index + 1},
        {"index": receipt.index - 1},
        {"size": receipt.size + 1},
        {"size": receipt.index},
        {"hashes": receipt.hashes[:-1]},
        {"hashes": (*receipt.hashes, receipt.hashes[0])},
        {"hashes": receipt.hashes[::-1]},
        {"origin": "ledger.example/2027"},
        {"signatures": ()},
        {"signatures": receipt.signatures[:1]},
        {"signatures": receipt.signatures[1:]},
    ):
        assert refused(dataclasses.replace(receipt, **change), made)


def test_what_is_repacked_and_lies_is_refused(made: Issued) -> None:
    other = receipts.facts(result="refused")
    for changed, why in (
        (issued(said=other.encoded()), "receipt.facts_differ"),
        (issued(entry=receipts.header(receipts.facts(), kind="letter:receipt:replaced")), "receipt.other_entry"),
        (issued(entry=receipts.header(receipts.facts(), seq=2, prev="0" * 64)), "receipt.other_entry"),
        (issued(entry=receipts.header(receipts.facts(), chain="receipts/other")), "receipt.other_code"),
        (issued(entry=receipts.header(receipts.facts(), detail={})), "receipt.facts_differ"),
    ):
        assert refused(pack(changed.receipt), changed) == why
    assert refused(issued().receipt, made) == "note.not_signed"


def test_facts_that_are_no_facts_are_refused() -> None:
    class Other:
        code = CODE

        def encoded(self) -> bytes:
            return b'{"code":"' + CODE.encode() + b'"}'

    of = Other()
    made = issued(of)  # type: ignore[arg-type]
    assert refused(made.receipt, made) == "receipt.facts_malformed"


@given(st.text(alphabet=SIGNS + " \n", max_size=300))
def test_whatever_is_read_is_a_receipt_or_refused(text: str) -> None:
    with pytest.raises(Tampered) as caught:
        unpack(PREFIX + text)
    assert caught.value.code in ("receipt.misread", "receipt.malformed")


def test_a_receipt_in_a_log_of_a_hundred_million_fits_one_code() -> None:
    """27 hashes, three witnesses, an office with a long Arabic name: what stands on paper must be read by a phone."""
    made = issued(
        receipts.facts(
            office="وزارة إعداد التراب الوطني والتعمير والإسكان وسياسة المدينة " * 2 + "قسم الدعم المباشر للسكن"
        ),
        witnesses=tuple(witness(f"witness{number}.ministry.example") for number in range(3)),
    )
    receipt = dataclasses.replace(made.receipt, hashes=(made.receipt.hashes * 5)[:27])
    assert len(pack(receipt)) <= 2_840  # version 33 at level L: 149 modules, 0.8 mm each where the code is 125 mm wide


# --- the short code ---------------------------------------------------------------------------------------------------


@given(st.binary(min_size=12, max_size=40))
def test_a_code_is_read_as_people_write_it(secret: bytes) -> None:
    code = code_of(secret)
    assert read_code(code) == code
    assert read_code(f" {code.lower().replace('-', ' ')}\u2069") == code
    assert read_code(code.replace("0", "o").replace("1", "l")) == code
    assert chain_of(code) != chain_of(code_of(bytes([secret[0] ^ 1]) + secret[1:]))


def test_one_wrong_sign_and_two_that_changed_places_are_noticed() -> None:
    code = CODE.replace("-", "")
    for at, right in enumerate(code):
        for wrong in ALPHABET:
            if wrong != right:
                assert read_code(code[:at] + wrong + code[at + 1 :]) == ""
        if at and code[at - 1] != right:
            assert read_code(code[: at - 1] + right + code[at - 1] + code[at + 1 :]) == ""


@pytest.mark.parametrize("text", ["", "A", CODE[:-1], CODE + "0", string.punctuation, "U" * 20, "é" * 20, "٠" * 20])
def test_what_is_no_code_is_none(text: str) -> None:
    assert read_code(text) == ""
