"""`diwan ledger verify-receipt` and `receipt-page`, as a notary types them who was shown a letter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from diwan.documents.check_sheet import sheet_of
from diwan.documents.typeset import typeset_sheet
from diwan.ledger.receipt import pack
from diwan.ledger.receipt_standing import REPLACED
from tests.cli.conftest import Diwan, DiwanProcess
from tests.cli.fake_service import Answer, FakeService
from tests.ledger import receipts
from tests.ledger.logs import MemoryLog
from tests.ledger.receipts import CODE, LETTER, Issued, issued


@pytest.fixture(scope="module")
def made() -> Issued:
    return issued()


@pytest.fixture
def policy_of(tmp_path: Path) -> Callable[[Issued], Path]:
    """The file of whoever trusts the log of a letter."""

    def written(of: Issued) -> Path:
        path = tmp_path / "policy"
        path.write_text(of.policy_text)
        return path

    return written


@pytest.fixture
def policy(made: Issued, policy_of: Callable[[Issued], Path]) -> Path:
    return policy_of(made)


def proof_of(made: Issued, header: bytes) -> str:
    """The tlog-proof of an entry that the log holds beside what it held."""
    log = MemoryLog(made.log.key)
    log.add(*made.log.entries, header)
    index = log.entries.index(header)
    return bytes(log.proof(index, log.checkpoint(), header)).decode()


def test_a_sheet_its_text_and_its_code_on_the_command_line_show_the_same(
    diwan_process: DiwanProcess, made: Issued, policy: Path, tmp_path: Path
) -> None:
    sheet, text, letter = tmp_path / "sheet.pdf", tmp_path / "code.txt", tmp_path / "letter.pdf"
    sheet.write_bytes(typeset_sheet(sheet_of(made.receipt, "")))
    packed = pack(made.receipt)
    text.write_text(f"\n{packed[:80]}\n{packed[80:]}\n")
    letter.write_bytes(LETTER)
    said: list[dict[str, object]] = []
    for given in (str(sheet), str(text), packed):
        done = diwan_process(
            "ledger", "verify-receipt", given, "--policy", str(policy), "--letter", str(letter), "--output", "json"
        )
        assert done.returncode == 0, done.stderr
        said.append(json.loads(done.stdout))
    assert said[0] == said[1] == said[2]
    expected = {"holds": True, "kind": "decision", "result": "granted", "number": "DW-2026-000142/3", "code": CODE}
    assert expected.items() <= said[0].items()
    assert "stands" not in said[0], "nobody was asked"


def test_another_letter_a_changed_receipt_and_a_bare_code_show_nothing(
    diwan_process: DiwanProcess, made: Issued, policy: Path, tmp_path: Path
) -> None:
    packed, other = pack(made.receipt), tmp_path / "other.pdf"
    other.write_bytes(LETTER + b"\n")
    changed = packed[:90] + ("A" if packed[90] != "A" else "B") + packed[91:]
    for given, more, code, says in (
        (packed, ("--letter", str(other)), 1, "not the letter that was issued"),
        (changed, (), 1, "not read right"),
        (CODE, (), 2, "--online"),
        (str(other), (), 1, "no receipt in it"),
        (str(tmp_path / "nowhere"), (), 2, "nowhere"),
    ):
        done = diwan_process("ledger", "verify-receipt", given, "--policy", str(policy), *more)
        assert (done.returncode, done.stdout) == (code, "")
        assert says in done.stderr


def test_online_a_letter_stands_as_far_as_the_log_shows_it(
    diwan_process: DiwanProcess, fake: FakeService, made: Issued, policy: Path
) -> None:
    packed = pack(made.receipt)
    replaced = receipts.header(receipts.facts(), kind=REPLACED, seq=2, prev="0" * 64, detail={"by": "receipts/x"})
    entries = {"in_force": made.receipt.header, "replaced": replaced}
    for claimed, proved, given, code, says in (
        ("in_force", "in_force", packed, 0, "in_force"),
        ("in_force", "in_force", CODE.lower(), 0, "in_force"),
        ("replaced", "replaced", packed, 1, "replaced"),
        ("in_force", "replaced", packed, 1, "otherwise than its own log"),
        ("unknown", "", packed, 1, "unknown"),
    ):
        proof = proof_of(made, entries[proved]) if proved else ""
        answer = {"status": claimed, "since": None, "receipt": packed if proved else "", "proof": proof}
        fake.answers[f"GET /ledger/receipts/{CODE}"] = Answer(200, answer)
        done = diwan_process("ledger", "verify-receipt", given, "--policy", str(policy), "--online", fake.url)
        assert done.returncode == code, done.stderr
        assert says in done.stdout + done.stderr
    assert {asked.path for asked in fake.asked} == {f"/ledger/receipts/{CODE}"}
    assert all("authorization" not in {name.lower() for name in asked.headers} for asked in fake.asked)


def test_a_specimen_is_no_letter_offline_or_online(
    diwan: Diwan, fake: FakeService, tmp_path: Path, policy_of: Callable[[Issued], Path]
) -> None:
    specimen = issued(receipts.facts(sample=True))
    packed, letter = pack(specimen.receipt), tmp_path / "letter.pdf"
    letter.write_bytes(LETTER)
    proof = proof_of(specimen, specimen.receipt.header)
    answer = {"status": "in_force", "since": None, "receipt": packed, "proof": proof}
    fake.answers[f"GET /ledger/receipts/{CODE}"] = Answer(200, answer)
    policy = str(policy_of(specimen))
    for given in (
        (packed,),
        (packed, "--letter", str(letter)),
        (packed, "--online", fake.url),
        (CODE, "--online", fake.url),
    ):
        done = diwan("ledger", "verify-receipt", *given, "--policy", policy, "--output", "json")
        assert done.exit_code == 1, given
        assert {"holds": False, "sample": True}.items() <= json.loads(done.stdout).items()
        assert "specimen" in done.stderr


def test_an_answer_that_the_log_does_not_show_yet_is_called_so(
    diwan: Diwan, fake: FakeService, made: Issued, policy: Path
) -> None:
    for given in (pack(made.receipt), CODE):
        for status, code in (("in_force", 75), ("replaced", 1), ("withdrawn", 1), ("other", 1)):
            answer = {"status": status, "since": "2026-11-27T06:00:00Z", "receipt": "", "proof": ""}
            fake.answers[f"GET /ledger/receipts/{CODE}"] = Answer(200, answer)
            done = diwan(
                *("ledger", "verify-receipt", given, "--policy", str(policy), "--online", fake.url, "--output", "json")
            )
            assert done.exit_code == code, (status, done.stderr)
            if status in ("replaced", "withdrawn"):
                expected = {"holds": given != CODE, "code": CODE, "stands": status, "proved": False}
                assert expected.items() <= json.loads(done.stdout).items()
                assert "do not rely on it" in done.stderr
            else:
                assert done.stdout == ""
    done = diwan("ledger", "verify-receipt", CODE, "--policy", str(policy), "--online", fake.url)
    assert "not a proof of an entry" in done.stderr, "what is no status has no excuse"


def test_a_proof_is_taken_for_no_letter(diwan: Diwan, fake: FakeService, made: Issued, policy: Path, tmp_path: Path):
    proof, letter = tmp_path / "entry.tlog-proof", tmp_path / "letter.pdf"
    proof.write_text(proof_of(made, made.receipt.header))
    letter.write_bytes(LETTER)
    for option in (("--letter", str(letter)), ("--online", fake.url)):
        done = diwan("ledger", "verify-receipt", str(proof), "--policy", str(policy), *option)
        assert (done.exit_code, done.stdout) == (2, "")
        assert option[0] in done.stderr
    assert fake.asked == []
    done = diwan("ledger", "verify-receipt", str(proof), "--policy", str(policy), "--output", "json")
    said = json.loads(done.stdout)
    assert (done.exit_code, said["kind"]) == (0, "letter:receipt:issued")
    assert "whether it still stands" in said["not_shown"]


def test_an_answer_about_another_letter_counts_for_nothing(
    diwan_process: DiwanProcess, fake: FakeService, made: Issued, policy: Path
) -> None:
    asked = "0" * 20
    assert diwan_process("ledger", "verify-receipt", asked, "--policy", str(policy)).returncode == 2
    code = "00000-00000-00000-00000"
    proof = proof_of(made, made.receipt.header)
    answer = {"status": "in_force", "since": None, "receipt": pack(made.receipt), "proof": proof}
    fake.answers[f"GET /ledger/receipts/{code}"] = Answer(200, answer)
    done = diwan_process("ledger", "verify-receipt", code, "--policy", str(policy), "--online", fake.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing of this letter" in done.stderr


def test_the_page_is_written_with_the_policys_keys(
    diwan_process: DiwanProcess, made: Issued, policy: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    done = diwan_process(
        "ledger", "receipt-page", "-o", str(page), "--policy", str(policy), "--language", "ar", "--output", "json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sha256"] == hashlib.sha256(page.read_bytes()).hexdigest()
    assert str(made.log.key.verifier).encode() in page.read_bytes()
    done = diwan_process(
        "ledger", "receipt-page", "-o", str(page), "--policy", str(policy), "--online", "https://x; script-src *"
    )
    assert (done.returncode, "no address" in done.stderr) == (2, True)
