"""The page of receipts in a real Chromium, from a file and with no network: `make test-browser`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from diwan.documents.receipt_page import receipt_page
from diwan.ledger.receipt import pack
from tests.ledger import receipts
from tests.ledger.receipts import Issued, issued, witness

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=10000", "--dump-dom"),
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@pytest.fixture(scope="module")
def made() -> Issued:
    return issued(beside=3000, witnesses=(witness("witness.example/one"),))


def opened(tmp_path: Path, policy: str, receipt: str) -> tuple[str, str]:
    """The answer's class and text, once the page was opened with a receipt behind its address."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "There is no Chromium on this machine: apt-get install chromium, or CHROMIUM=/path"
    page = tmp_path / "page.html"
    page.write_bytes(receipt_page(policy))
    command = [chromium, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"{page.as_uri()}#{receipt}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<section id="answer"[^>]*?(?:class="(\w+)")?>(.*?)</section>', done.stdout, re.DOTALL)
    assert found, done.stdout[:2000]
    return found[1] or "", unescape(re.sub(r"<[^>]+>", " ", found[2]))


def test_an_honest_receipt_is_shown_with_what_it_says(tmp_path: Path, made: Issued) -> None:
    good, text = opened(tmp_path, made.policy_text, pack(made.receipt))
    assert good == "good"
    for said in ("This letter is in the log as it was issued", "DW-2026-000142/3", receipts.CODE, "granting"):
        assert said in text


def test_a_specimen_is_called_one(tmp_path: Path) -> None:
    made = issued(receipts.facts(sample=True))
    good, text = opened(tmp_path, made.policy_text, pack(made.receipt))
    assert (good, "specimen" in text) == ("bad", True)


def test_a_changed_receipt_and_another_log_are_refused(tmp_path: Path, made: Issued) -> None:
    text = pack(made.receipt)
    changed = text[:200] + ("A" if text[200] != "A" else "B") + text[201:]
    for number, (policy, receipt, says) in enumerate(
        ((made.policy_text, changed, "misread or changed"), (issued().policy_text, text, "No log that you trust"))
    ):
        place = tmp_path / str(number)
        place.mkdir()
        good, said = opened(place, policy, receipt)
        assert (good, says in said) == ("bad", True), said
