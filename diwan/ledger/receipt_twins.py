"""Receipts of letters against their letters: each chain is one letter's, and says what its case's own entries bear out.

What a chain outside cases says is shown to strangers, so a word on it that no letter brought about is a forgery.
"""

from __future__ import annotations

from collections.abc import Sequence

from diwan.ledger.receipt import ISSUED
from diwan.ledger.receipt_standing import ENDS
from diwan.ledger.twins import CaseData, Found, Said

SENT = ("case:decision:issued", "letter:letter:issued")  # entries of a case by which a letter goes out


def compare_receipts(data: CaseData, found: Found) -> None:
    sent = [each for each in data.of(*SENT) if each.detail.get("receipt")]
    letters = ((row["id"], row["receipt_chain"]) for row in data.rows["letter"] if row["receipt_chain"])
    found.match("receipt", letters, ((each.detail.get("letter"), each.detail["receipt"]) for each in sent))
    for chain, told in standings(sent).items():
        there = [(each.kind, str(each.detail.get("by", ""))) for each in data.receipts.get(chain, ())]
        if there != told:
            text = f"its chain says {_words(there)}; by its case's entries it is {_words(told)}"
            found.find("receipt.chain_differs", chain, text)


def standings(sent: Sequence[Said]) -> dict[str, list[tuple[str, str]]]:
    """What the chain of each letter has to say, in order, as (kind, by): its issue, and at most once what ended it."""
    told: dict[str, list[tuple[str, str]]] = {}
    kinds: dict[str, str] = {}
    for entry in sent:
        chain, kind = str(entry.detail["receipt"]), str(entry.detail.get("kind", ""))
        for earlier, was in kinds.items():
            became = ENDS.get(kind, {}).get(was)
            if became is not None and len(told[earlier]) == 1:
                told[earlier].append((became, chain))
        told.setdefault(chain, []).append((ISSUED, ""))
        kinds[chain] = kind
    return told


def _words(said: Sequence[tuple[str, str]]) -> str:
    words = (f"{kind.rpartition(':')[2]} by {by}" if by else kind.rpartition(":")[2] for kind, by in said)
    return ", ".join(words) or "nothing"
