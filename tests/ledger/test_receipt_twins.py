"""What stands on a letter's own chain is what the entries of its case bear out, and nothing else."""

from __future__ import annotations

import pytest

from diwan.ledger.receipt import ISSUED
from diwan.ledger.receipt_standing import ENDS, REPLACED, WITHDRAWN
from diwan.ledger.receipt_twins import compare_receipts
from diwan.ledger.twins import CaseData, Found, Said
from diwan.procedures.steps import LetterKind

Words = list[tuple[str, str]]
# A request that a reminder repeats, a second request, a decision, and a withdrawal of all of it.
KINDS = ("receipt", "request_for_pieces", "reminder", "request_for_pieces", "decision", "withdrawal")
CHAINS: dict[str, Words] = {
    "r0": [(ISSUED, "")],
    "r1": [(ISSUED, ""), (REPLACED, "r3")],
    "r2": [(ISSUED, ""), (REPLACED, "r3")],
    "r3": [(ISSUED, ""), (REPLACED, "r4")],
    "r4": [(ISSUED, ""), (WITHDRAWN, "r5")],
    "r5": [(ISSUED, "")],
}


def names(chains: dict[str, Words], rows: dict[str, str | None] | None = None) -> list[str]:
    """`rows`: the letters, each with its chain, where they are others than the entries tell of."""
    entries = [
        Said(n, b"", {"kind": _entry(kind), "detail": {"letter": f"l{n}", "kind": kind, "receipt": f"r{n}"}})
        for n, kind in enumerate(KINDS)
    ]
    entries.append(Said(9, b"", {"kind": "letter:letter:issued", "detail": {"letter": "old", "kind": "receipt"}}))
    letters = rows or {**{f"l{n}": f"r{n}" for n in range(len(KINDS))}, "old": None}
    said = {
        chain: [Said(n, b"", {"kind": kind, "detail": {"by": by} if by else {}}) for n, (kind, by) in enumerate(words)]
        for chain, words in chains.items()
    }
    table = [{"id": letter, "receipt_chain": chain} for letter, chain in letters.items()]
    found = Found("c")
    compare_receipts(CaseData({"id": "c"}, entries, {"letter": table}, receipts=said), found)
    return [each.name for each in found.findings]


def _entry(kind: str) -> str:
    return "case:decision:issued" if kind == "decision" else "letter:letter:issued"


def test_what_the_case_bears_out_is_no_finding() -> None:
    assert names(CHAINS) == []


# On which chain stands what else.
FORGED: dict[str, tuple[str, Words]] = {
    "a letter is withdrawn by nobody": ("r5", [(ISSUED, ""), (WITHDRAWN, "r9")]),
    "a receipt is ended": ("r0", [(ISSUED, ""), (WITHDRAWN, "r5")]),
    "by an earlier letter": ("r4", [(ISSUED, ""), (WITHDRAWN, "r3")]),
    "in another way": ("r1", [(ISSUED, ""), (WITHDRAWN, "r3")]),
    "what ended it is left out": ("r3", [(ISSUED, "")]),
    "it is ended twice": ("r3", [*CHAINS["r3"], (WITHDRAWN, "r5")]),
    "it is issued twice": ("r5", [(ISSUED, ""), (ISSUED, "")]),
    "it was never issued": ("r5", []),
}


@pytest.mark.parametrize("how", FORGED)
def test_what_it_does_not_bear_out_is_named(how: str) -> None:
    chain, words = FORGED[how]
    assert names({**CHAINS, chain: words}) == ["receipt.chain_differs"]


def test_letter_and_entry_name_one_chain() -> None:
    letters: dict[str, str | None] = {f"l{n}": f"r{n}" for n in range(len(KINDS))}
    swapped = names(CHAINS, {**letters, "l2": "r3", "l3": "r2"})
    assert sorted(swapped) == ["receipt.entry_missing"] * 2 + ["receipt.row_missing"] * 2
    assert names(CHAINS, {**letters, "l0": None}) == ["receipt.row_missing"]
    assert names(CHAINS, {**letters, "old": "r9"}) == ["receipt.entry_missing"]


def test_every_kind_that_ends_another_is_one_of_letters() -> None:
    kinds = {*ENDS, *(kind for ended in ENDS.values() for kind in ended)}
    assert kinds <= {"reminder", *(kind.value for kind in LetterKind)}
