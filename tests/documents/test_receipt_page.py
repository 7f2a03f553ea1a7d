"""The page that checks letters offline: it says what our own check says, refuses what that refuses, asks nobody."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from diwan.documents.receipt_page import PARTS, receipt_page
from diwan.domain.case import Result
from diwan.domain.errors import InvalidInput, Tampered
from diwan.domain.text import Language
from diwan.ledger.note import ED25519, VerifierKey
from diwan.ledger.policy import parse_policy
from diwan.ledger.proof import parse_proof
from diwan.ledger.receipt import PREFIX, Receipt, check_receipt, pack, unpack
from diwan.ledger.receipt_code import read_code
from diwan.ledger.receipt_standing import REPLACED
from diwan.procedures.steps import LetterKind
from tests.documents.node_receipts import ask
from tests.ledger import receipts
from tests.ledger.receipts import CODE, LETTER, Issued, issued, witness

SIGNS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ$*+-./:"
ONE, TWO = witness("witness.example/one"), witness("witness.example/two")


@pytest.fixture(scope="module")
def made() -> Issued:
    return issued(witnesses=(ONE, TWO))


def by_us(text: str, made: Issued) -> bool:
    try:
        check_receipt(unpack(text), made.policy)
    except Tampered:
        return False
    return True


@pytest.mark.parametrize("browser", [True, False])
def test_the_page_says_what_our_own_check_says(made: Issued, browser: bool) -> None:
    text = pack(made.receipt)
    file = base64.b64encode(LETTER).decode()
    whole, letter, other = ask(
        [
            ("checkReceipt", f" {text[:60]}\n{text[60:]}\n", made.policy_text),
            ("isLetter", text, made.policy_text, file),
            ("isLetter", text, made.policy_text, base64.b64encode(LETTER + b" ").decode()),
        ],
        browser=browser,
    )
    checked = check_receipt(made.receipt, made.policy)
    assert whole["is"]["facts"] == checked.facts.model_dump(mode="json")
    assert {name: whole["is"][name] for name in ("tenant", "origin", "size", "index")} == {
        "tenant": "demo",
        "origin": checked.checkpoint.origin,
        "size": checked.checkpoint.size,
        "index": checked.index,
    }
    assert (letter, other) == ({"is": True}, {"is": False})


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 64, 100])
def test_wherever_the_entry_is_in_its_log(size: int) -> None:
    made = issued(beside=size - 1)
    (said,) = ask([("checkReceipt", pack(made.receipt), made.policy_text)])
    assert said["is"]["size"] == size


@pytest.mark.parametrize("browser", [True, False])
def test_what_is_changed_is_refused(made: Issued, browser: bool) -> None:
    """Signs of the text at random, and bytes of what it holds with its check made anew, as a forger would."""
    dice = random.Random(7)  # noqa: S311 - to be repeated
    text, receipt = pack(made.receipt), made.receipt
    forged: list[str] = []
    for _ in range(200 if browser else 20):
        at = dice.randrange(len(PREFIX), len(text))
        forged.append(text[:at] + dice.choice(SIGNS.replace(text[at], "")) + text[at + 1 :])

    def spoilt(content: bytes, at: int) -> bytes:
        return content[:at] + bytes([content[at] ^ dice.randrange(1, 256)]) + content[at + 1 :]

    changes: list[dict[str, Any]] = []
    for name in ("header", "facts", "salt"):
        value: bytes = getattr(receipt, name)
        changes += [{name: spoilt(value, at)} for at in range(0, len(value), 3 if browser else 97)]
    changes += [
        {"hashes": (*receipt.hashes[:place], spoilt(each, 5), *receipt.hashes[place + 1 :])}
        for place, each in enumerate(receipt.hashes)
    ]
    for place, line in enumerate(receipt.signatures):
        for at in range(0, len(line.content), 5 if browser else 31):
            lines = list(receipt.signatures)
            lines[place] = dataclasses.replace(line, content=spoilt(line.content, at))
            changes.append({"signatures": tuple(lines)})
    changes += [
        *({"index": receipt.index + 1}, {"size": receipt.size + 1}, {"hashes": receipt.hashes[1:]}),
        *({"signatures": receipt.signatures[:1]}, {"signatures": receipt.signatures[:2]}, {"signatures": ()}),
        *({"origin": "ledger.example/2027"}, {"size": receipt.index}, {"index": 2**53}),
    ]
    forged += [pack(dataclasses.replace(receipt, **each)) for each in changes]
    said = ask([("checkReceipt", each, made.policy_text) for each in forged], browser=browser)
    assert [each for each in said if "refused" not in each or ":" in each["refused"]] == []
    assert not any(by_us(each, made) for each in forged)


def test_what_lies_consistently_is_refused_for_what_it_is(made: Issued) -> None:
    lies: list[tuple[Receipt, str, str]] = []
    for other, why in (
        (issued(said=receipts.facts(result="refused").encoded()), "facts"),
        (issued(entry=receipts.header(receipts.facts(), kind=REPLACED)), "other_entry"),
        (issued(entry=receipts.header(receipts.facts(), seq=2, prev="0" * 64)), "other_entry"),
        (issued(entry=receipts.header(receipts.facts(), chain="receipts/other")), "facts"),
    ):
        lies.append((other.receipt, other.policy_text, why))
    lies.append((issued().receipt, made.policy_text, "other_log"))
    lies.append(
        (dataclasses.replace(made.receipt, signatures=made.receipt.signatures[:2]), made.policy_text, "witnesses")
    )
    said = ask([("checkReceipt", pack(receipt), policy) for receipt, policy, _ in lies])
    assert said == [{"refused": why} for *_, why in lies]


NO_POLICIES = (
    *("", "quorum none\n", "log x\nquorum none\n", "log {log}\n", "log {log}\nquorum w\n"),
    *("log {one}\nquorum none\n", "witness w {log}\nlog {log}\nquorum w\n", "log {log}\nnothing\n"),
    *("log {log}\nquorum none\nquorum none\n", "log {log}\nwitness w {one}\ngroup g 2 w\nquorum g\n"),
    # What counts as two must be two: else one key counts twice.
    "log {log}\nlog {log}\nquorum none\n",
    "log {log}\nwitness a {one}\nwitness b {one}\ngroup g all a b\nquorum g\n",
    "log {log}\nwitness a {one}\nwitness b {two}\ngroup f any a\ngroup g all a f\nquorum g\n",
    *(f"log {{log}}\nwitness a {{one}}\ngroup g {of} a\nquorum g\n" for of in ("any a", "01", "0", "constructor")),
    *("log {log}\r\nquorum none\n", "# a\x0b\nlog {log}\nquorum none\n", "log {log}\nquorum none\x7f\n"),
    *("log {spaced}\nquorum none\n", "log {log}\nquorum none\n#" + "x" * 100_000),
)


def test_a_policy_that_is_none_is_refused(made: Issued) -> None:
    log = made.log.key.verifier
    spaced = VerifierKey("a\u00a0log", ED25519, log.public)
    texts = [each.format(log=log, one=ONE.verifier, two=TWO.verifier, spaced=spaced) for each in NO_POLICIES]
    for text in texts:
        with pytest.raises((InvalidInput, Tampered)):
            check_receipt(made.receipt, parse_policy(text.encode()))
    said = ask([("checkReceipt", pack(made.receipt), text) for text in texts])
    assert [text for text, each in zip(texts, said, strict=True) if each != {"refused": "policy"}] == []


def test_policies_count_witnesses_as_ours_do(made: Issued) -> None:
    base = f"log {made.log.key.verifier}\nwitness a {ONE.verifier}\nwitness b {TWO.verifier}\n"
    third = f"witness c {witness('witness.example/three').verifier}\n"
    policies = [
        base + "quorum a\n",
        base + third + "quorum c\n",
        base + third + "group g 2 a b c\nquorum g\n",
        base + third + "group g all a b c\nquorum g\n",
        base + third + "group g any c a\ngroup h all g b\nquorum h\n",
    ]
    said = ask([("checkReceipt", pack(made.receipt), policy) for policy in policies])
    ours: list[bool] = []
    for policy in policies:
        try:
            check_receipt(made.receipt, parse_policy(policy.encode()))
            ours.append(True)
        except Tampered:
            ours.append(False)
    assert ["is" in each for each in said] == ours == [True, False, True, False, True]


def test_an_answer_counts_as_far_as_the_log_shows_it(made: Issued) -> None:
    log, text = made.log, pack(made.receipt)
    proof = log.proof(made.receipt.index, log.checkpoint(), made.receipt.header)
    replaced = issued(entry=receipts.header(receipts.facts(), kind=REPLACED, seq=2, prev="0" * 64))
    later = replaced.log.proof(replaced.receipt.index, None, replaced.receipt.header)
    policy = f"log {log.key.verifier}\nquorum none\n"

    def answer(status: str, of: Any = proof, receipt: str = text) -> dict[str, str]:
        return {"status": status, "since": "", "receipt": receipt, "proof": bytes(of).decode()}

    other = "Y" + CODE[1:]
    good, unknown, *bad = ask(
        [
            ("checkAnswer", answer("in_force"), CODE, policy),
            ("checkAnswer", {"status": "unknown", "proof": "", "receipt": ""}, CODE, policy),
            ("checkAnswer", answer("replaced"), CODE, policy),
            ("checkAnswer", answer("in_force"), other, policy),
            ("checkAnswer", answer("replaced", later), CODE, policy),
            ("checkAnswer", answer("in_force", dataclasses.replace(proof, index=proof.index + 1)), CODE, policy),
            ("checkAnswer", {"status": "in_force", "proof": "x", "receipt": text}, CODE, policy),
        ]
    )
    assert (good["is"]["status"], good["is"]["checked"]["facts"]["code"]) == ("in_force", CODE)
    assert unknown == {"is": {"status": "unknown"}}
    assert [each.get("refused") for each in bad] == [
        *("other_entry", "other_entry", "other_log", "not_included", "malformed")
    ]


def test_an_answer_is_spelled_as_ours_must_be(made: Issued) -> None:
    log, text = made.log, pack(made.receipt)
    proof = bytes(log.proof(made.receipt.index, log.checkpoint(), made.receipt.header)).decode()
    first, line = proof.split("\n")[3], proof.split("\n")[-2]
    longer = base64.b64encode(base64.b64decode(first) + b"\0").decode()
    spoilt = [
        proof.replace(first, longer),
        proof.replace(first, ""),
        proof.replace(first, f"{first}\n" * 60 + first),
        proof + line + "\n",
        proof[:-1],
        proof + "\n",
        proof.replace("\n\n", "\n"),
        proof.replace("\nindex", "\r\nindex"),
        proof.partition("\n\n")[0],
        proof.rpartition("\n\n")[0],
        "",
    ]
    policy = f"log {log.key.verifier}\nquorum none\n"
    answers = [{"status": "in_force", "receipt": text, "proof": each} for each in (proof, *spoilt)]
    good, *bad = ask([("checkAnswer", answer, CODE, policy) for answer in answers])
    assert good["is"]["status"] == "in_force"
    for each in spoilt:
        with pytest.raises(Tampered):
            parse_proof(each.encode())
    assert bad == [{"refused": "malformed"}] * len(spoilt)


def test_codes_are_read_as_ours_are() -> None:
    dice = random.Random(11)  # noqa: S311 - to be repeated
    typed = [CODE, CODE.lower(), CODE.replace("-", " "), CODE[:-1], "", "U" * 20, CODE.replace("1", "l")]
    for _ in range(200):
        at = dice.randrange(len(CODE))
        typed.append(CODE[:at] + dice.choice("0189AZIOL-") + CODE[at + 1 :])
    assert [each["is"] for each in ask([("readCode", each) for each in typed])] == [read_code(each) for each in typed]


# --- the page around it -----------------------------------------------------------------------------------------------


def test_the_page_is_one_file_that_speaks_to_nobody_unless_it_is_told_whom(made: Issued) -> None:
    page = receipt_page(made.policy_text).decode()
    assert "connect-src 'none'" in page
    assert "default-src 'none'" in page
    assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", page)
    assert "connect-src https://diwan.example;" in receipt_page(made.policy_text, "https://diwan.example/x").decode()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    for word in ("innerHTML", "eval(", "document.write", "localStorage", "cookie"):
        assert word not in (PARTS / "receipt.js").read_text() + (PARTS / "page.js").read_text()
    assert "MIT License" in page


def test_a_policy_cannot_end_the_script_that_it_stands_in() -> None:
    page = receipt_page("</script><script>alert(1)</script>").decode()
    assert "<script>alert" not in page


def test_every_word_of_the_page_is_there_in_each_language() -> None:
    words: dict[str, dict[str, str]] = json.loads((PARTS / "words.json").read_text())
    assert set(words) == {language.value for language in Language}
    keys = {frozenset(each) for each in words.values()}
    assert len(keys) == 1
    assert all(text.strip() for each in words.values() for text in each.values())
    page, script = (PARTS / "page.html").read_text(), (PARTS / "page.js").read_text()
    used = set(re.findall(r'data-say="(\w+)"', page)) | set(
        re.findall(r'"(fact_\w+|not_asked|not_proved|same_letter|compare|sample)"', script)
    )
    codes = set(re.findall(r'(?:refuse|Refused)\("(\w+)"\)', (PARTS / "receipt.js").read_text() + script))
    used |= {f"refused_{code}" for code in codes} | {"genuine", "refused", "undecided", "refused_too_old"}
    for stands in ("in_force", "replaced", "withdrawn", "unknown"):
        used |= {f"stands_{stands}", f"stands_{stands}_more"}
    assert used <= keys.pop()
    given = re.findall(r'<script type="application/json" id="given">(.*?)</script>', receipt_page("").decode())
    titles = json.loads(given[0])["words"]["ar"]
    assert {f"title_decision_{result.value}" for result in Result} <= set(titles)
    assert {f"title_{kind.value}" for kind in LetterKind if kind is not LetterKind.DECISION} <= set(titles)


def test_every_field_of_the_page_has_its_label() -> None:
    page = (PARTS / "page.html").read_text()
    fields = set(re.findall(r'<(?:input|textarea) id="([\w-]+)"', page))
    assert (
        fields
        == set(re.findall(r'<label for="([\w-]+)"', page))
        == {"receipt-file", "receipt-text", "letter-file", "code", "policy"}
    )
    assert 'role="status" aria-live="polite"' in page


@pytest.mark.parametrize(
    ("ink", "paper"), [("1d2733", "ffffff"), ("ffffff", "1d4f91"), ("4d5966", "ffffff"), ("b35900", "ffffff")]
)
def test_what_is_read_stands_out_enough(ink: str, paper: str) -> None:
    """WCAG 2.2: 4.5 to 1 for text, of the colours that page.css has."""
    style = Path(PARTS / "page.css").read_text()
    assert ink[:3] in style.replace("#fff", "#ffffff")

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lights = sorted((light(ink), light(paper)))
    assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5
