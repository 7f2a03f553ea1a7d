"""The page of receipts as whoever was shown a letter uses it: what it says for what is chosen and answered."""

from __future__ import annotations

import json

import pytest

from diwan.documents.receipt_page import receipt_page
from diwan.ledger.receipt import pack
from diwan.ledger.receipt_standing import REPLACED
from tests.documents.node_page import Step, visit
from tests.ledger import receipts
from tests.ledger.receipts import CODE, LETTER, Issued, issued

OTHER = LETTER + b"\n"
COMPARE, SAME = "Compare what follows with the letter", "exactly the one that was issued"


@pytest.fixture(scope="module")
def made() -> Issued:
    return issued()


def page(made: Issued) -> bytes:
    return receipt_page(made.policy_text, "https://diwan.example")


def answer(made: Issued, status: str = "in_force", **changed: str) -> str:
    proof = bytes(made.log.proof(made.receipt.index, made.log.checkpoint(), made.receipt.header)).decode()
    return json.dumps({"status": status, "since": "", "receipt": pack(made.receipt), "proof": proof, **changed})


def test_a_file_that_was_chosen_is_compared_online_as_offline(made: Issued) -> None:
    text, said = pack(made.receipt), answer(made)
    offline = [Step(receipt=text, letter=letter) for letter in (b"", LETTER, OTHER)]
    online = [Step(code=CODE, answer=said, letter=letter) for letter in (b"", LETTER, OTHER)]
    shown = visit(page(made), *offline, *online)
    assert [good for good, _ in shown] == ["good", "good", "bad"] * 2
    for (_, bare), (_, same), (_, other) in (shown[:3], shown[3:]):
        assert COMPARE in bare
        assert SAME not in bare
        assert SAME in same
        assert "not the letter that was issued" in other
        assert CODE not in other, "nothing of the letter is shown beside a file that is not it"


def test_that_a_letter_fell_is_said_before_the_log_shows_it(made: Issued) -> None:
    fallen = [answer(made, status, receipt="", proof="") for status in ("replaced", "withdrawn", "in_force", "other")]
    shown = visit(page(made), *(Step(code=CODE, answer=each) for each in fallen))
    assert [good for good, _ in shown] == ["bad"] * 4
    for (_, text), says in zip(shown, ("replaced", "withdrawn"), strict=False):
        assert f"This letter has been {says}" in text
        assert "its log does not show it yet" in text
    assert "issued just now" in shown[2][1]
    assert "issued just now" not in shown[3][1]


def test_a_specimen_and_a_letter_that_was_replaced_are_never_good(made: Issued) -> None:
    specimen = issued(receipts.facts(sample=True))
    gone = issued(entry=receipts.header(receipts.facts(), kind=REPLACED, seq=2, prev="0" * 64))
    ((good, text), (online, again)) = visit(
        page(specimen),
        Step(receipt=pack(specimen.receipt), letter=LETTER),
        Step(code=CODE, answer=answer(specimen), letter=LETTER),
    )
    assert (good, online) == ("bad", "bad")
    assert "specimen" in text
    assert "specimen" in again
    ((good, text),) = visit(page(gone), Step(receipt=pack(gone.receipt)))
    assert (good, "not this letter" in text) == ("bad", True)
