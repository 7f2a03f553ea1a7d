"""Facts, pages and parties against what entries count of them. On the database: tests/activities/test_reconcile.py."""

from __future__ import annotations

from typing import Any

import pytest

from diwan.ledger.dossier_twins import NOT_COUNTED, compare_dossier
from diwan.ledger.twins import CaseData, Found, Said


def compared(details: list[dict[str, Any]], facts: dict[int, int], *, pages: int = 0, parties: int = 1) -> Found:
    entries = [Said(n, b"", {"kind": "a:b:c", "detail": detail}) for n, detail in enumerate(details, 1)]
    rows = {
        "fact": [{"version": version, "count": count} for version, count in facts.items()],
        "page": [{"count": pages}],
        "party": [{"count": parties}],
    }
    found = Found("case-1")
    compare_dossier(CaseData({"id": "case-1"}, entries, rows), found)
    return found


OPENED = {"facts": 2, "parties": 1}


@pytest.mark.parametrize(
    ("details", "facts", "pages", "parties", "named"),
    [
        ([OPENED, {}, {"facts": 1, "pages": 3}], {1: 2, 3: 1}, 3, 1, []),
        ([OPENED], {1: 1}, 0, 1, [("fact.row_missing", "entry 1")]),
        ([OPENED, {}], {1: 2, 2: 1}, 0, 1, [("fact.entry_missing", "entry 2")]),
        ([OPENED], {1: 2, 7: 1}, 0, 1, [("fact.entry_missing", "entry 7")]),
        ([OPENED, {"facts": 1}], {1: 3}, 0, 1, [("fact.entry_missing", "entry 1"), ("fact.row_missing", "entry 2")]),
        ([OPENED, {"pages": 3}], {1: 2}, 2, 1, [("page.row_missing", "page")]),
        ([OPENED, {}], {1: 2}, 1, 0, [("page.entry_missing", "page"), ("party.row_missing", "party")]),
        ([OPENED | {"parties": 0}], {1: 2}, 0, 1, [("party.entry_missing", "party")]),
    ],
)
def test_rows_and_counts_differ_nowhere_unnamed(
    details: list[dict[str, Any]], facts: dict[int, int], pages: int, parties: int, named: list[tuple[str, str]]
) -> None:
    found = compared(details, facts, pages=pages, parties=parties)
    assert [(each.name, each.where) for each in found.findings] == named
    assert found.counts["fact"] == sum(facts.values())


@pytest.mark.parametrize("details", [[], [{}], [{"inbox_seq": 1}, {"facts": 3}]])
def test_a_case_that_was_opened_before_entries_counted_is_not_compared(details: list[dict[str, Any]]) -> None:
    found = compared(details, {9: 4}, pages=2, parties=0)
    assert (found.findings, dict(found.counts)) == ([], {NOT_COUNTED: 1})
