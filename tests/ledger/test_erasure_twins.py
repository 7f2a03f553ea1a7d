"""What was asked to be erased, decided, carried out and held is in rows and entries alike, or is named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from diwan.domain.ports import RetentionClass
from diwan.ledger.erasure_twins import compare_erasures, compare_keys
from diwan.ledger.twins import CaseData, Found, Said

Rows = dict[str, list[dict[str, Any]]]
FIRST, SECOND, THIRD = "e1", "e2", "e3"


@dataclass
class Made:
    """A case: one erasure proposed and carried out after a hold took back its approval, one declined, one approved."""

    entries: list[dict[str, Any]]
    rows: Rows

    def data(self) -> CaseData:
        return CaseData({"id": "c"}, [Said(n, b"", header) for n, header in enumerate(self.entries, 1)], self.rows)

    def names(self) -> set[str]:
        found = Found("c")
        compare_erasures(self.data(), found)
        return {each.name for each in found.findings}

    def keys(self, *gone: RetentionClass) -> set[tuple[str, str]]:
        """What is found where the vault has destroyed these."""
        found = Found("c")
        compare_keys(self.data(), gone, found)
        return {(each.name, each.where) for each in found.findings}

    def drop(self, kind: str) -> None:
        """The last entry of this kind."""
        del self.entries[max(n for n, each in enumerate(self.entries) if each["kind"] == kind)]


def entry(kind: str, by: str, *, basis: str = "", **detail: str) -> dict[str, Any]:
    return {"kind": f"case:{kind}", "actor": {"subject": by}, "detail": detail} | (
        {"legal_basis": basis} if basis else {}
    )


def asked(id_: str, classes: list[str], ground: str, by: str, until: date | None = None) -> dict[str, Any]:
    return {
        **{"id": id_, "classes": classes, "ground": ground, "asked_by": by, "kept_until": until},
        **{"legal_basis": "Act 1", "status": "asked", "decided_by": ""},
    }


@pytest.fixture
def made() -> Made:
    said = {"classes": "exchange", "ground": "retention", "asked_by": "retention", "kept_until": "2028-11-23"}
    other = {"classes": "evidence,decision", "ground": "order", "asked_by": "anne"}
    entries = [
        entry("erasure:asked", "retention", basis="Act 1", erasure=FIRST, **said),
        entry("erasure:approved", "paul", basis="Act 1", erasure=FIRST, **said),
        entry("hold:placed", "omar", hold="h1"),
        entry("hold:lifted", "omar", hold="h1"),
        entry("erasure:approved", "rita", basis="Act 1", erasure=FIRST, **said),
        entry("erasure:started", "worker", basis="Act 1", erasure=FIRST, **said),
        entry("keys:destroyed", "worker", basis="Act 1", erasure=FIRST, **said),
        entry("erasure:asked", "anne", basis="Act 1", erasure=SECOND, **other),
        entry("hold:placed", "omar", hold="h2"),
        entry("erasure:asked", "anne", basis="Act 1", erasure=THIRD, **other),
        entry("hold:lifted", "rita", hold="h2"),
        entry("erasure:approved", "rita", basis="Act 1", erasure=THIRD, **other),
        entry("hold:placed", "omar", hold="h3"),
        entry("erasure:approved", "rita", basis="Act 1", erasure=SECOND, **other),
        entry("erasure:declined", "omar", basis="Act 1", erasure=SECOND, **other),
        entry("erasure:approved", "paul", basis="Act 1", erasure=THIRD, **other),
    ]
    rows: Rows = {
        "erasure": [
            asked(FIRST, ["exchange"], "retention", "retention", date(2028, 11, 23))
            | {"status": "done", "decided_by": "rita"},
            asked(SECOND, ["evidence", "decision"], "order", "anne") | {"status": "declined", "decided_by": "omar"},
            asked(THIRD, ["evidence", "decision"], "order", "anne") | {"status": "approved", "decided_by": "paul"},
        ],
        "legal_hold": [
            {"id": "h1", "placed_by": "omar", "lifted_by": "omar"},
            {"id": "h2", "placed_by": "omar", "lifted_by": "rita"},
            {"id": "h3", "placed_by": "omar", "lifted_by": ""},
        ],
    }
    return Made(entries, rows)


def test_what_is_whole_has_no_finding(made: Made) -> None:
    assert made.names() == set()


def test_the_keys_that_are_gone_are_those_that_entries_tell_of(made: Made) -> None:
    """Of the case here the `exchange` key is destroyed; an erasure of the two others is only asked for, or approved."""
    exchange, evidence, decision = RetentionClass.EXCHANGE, RetentionClass.EVIDENCE, RetentionClass.DECISION
    assert made.keys(exchange) == set()
    assert made.keys() == {("key.still_there", "exchange")}
    assert made.keys(*RetentionClass) == {("key.destroyed_untold", each.value) for each in (evidence, decision)}
    made.drop("case:keys:destroyed")
    assert (made.keys(), made.keys(exchange)) == (set(), set()), "begun: it may be there still"
    made.drop("case:erasure:started")
    assert made.keys(exchange) == {("key.destroyed_untold", "exchange")}


# Which entry is taken away, or is there once more, and what names the rows that are left without, or the entry.
TOLD = {
    "case:erasure:asked": "erasure",
    "case:erasure:approved": "erasure_decision",
    "case:erasure:declined": "erasure_decision",
    "case:erasure:started": "erasure_start",
    "case:keys:destroyed": "erasure_end",
    "case:hold:placed": "hold",
    "case:hold:lifted": "hold_end",
}


@pytest.mark.parametrize("kind", TOLD)
def test_a_row_without_its_entry_and_an_entry_without_its_row_are_named(made: Made, kind: str) -> None:
    twice = copy.deepcopy(made)
    twice.entries.append(next(each for each in reversed(made.entries) if each["kind"] == kind))
    made.drop(kind)
    assert f"{TOLD[kind]}.entry_missing" in made.names()
    assert f"{TOLD[kind]}.row_missing" in twice.names()


# What is changed of the rows past the service, and what names it.
CHANGED: dict[str, tuple[Callable[[Rows], object], set[str]]] = {
    "an erasure that was carried out is gone": (
        lambda rows: rows["erasure"].pop(0),
        {f"{what}.row_missing" for what in ("erasure", "erasure_decision", "erasure_start", "erasure_end")},
    ),
    "one that nobody asked for": (
        lambda rows: rows["erasure"].append(asked("x", ["exchange"], "order", "anne")),
        {"erasure.entry_missing"},
    ),
    "of another class": (
        lambda rows: rows["erasure"][2].update(classes=["decision", "evidence", "exchange"]),
        {"erasure.entry_missing", "erasure.row_missing"},
    ),
    "by another text": (
        lambda rows: rows["erasure"][0].update(legal_basis="Act 2"),
        {"erasure.entry_missing", "erasure.row_missing"},
    ),
    "of another day": (
        lambda rows: rows["erasure"][0].update(kept_until=date(2026, 11, 23)),
        {"erasure.entry_missing", "erasure.row_missing"},
    ),
    "asked for by another": (
        lambda rows: rows["erasure"][2].update(asked_by="omar"),
        {"erasure.entry_missing", "erasure.row_missing"},
    ),
    "approved by another": (
        lambda rows: rows["erasure"][0].update(decided_by="paul"),
        {"erasure_decision.entry_missing", "erasure_decision.row_missing"},
    ),
    "declined, and the ledger says it was approved": (
        lambda rows: rows["erasure"][2].update(status="declined"),
        {"erasure_decision.entry_missing", "erasure_decision.row_missing"},
    ),
    "the approval is taken back by nobody": (
        lambda rows: rows["erasure"][2].update(status="asked", decided_by=""),
        {"erasure_decision.row_missing"},
    ),
    "begun by nobody": (lambda rows: rows["erasure"][2].update(status="started"), {"erasure_start.entry_missing"}),
    "carried out by nobody": (
        lambda rows: rows["erasure"][2].update(status="done"),
        {"erasure_start.entry_missing", "erasure_end.entry_missing"},
    ),
    "it has still to be carried out": (
        lambda rows: rows["erasure"][0].update(status="started"),
        {"erasure_end.row_missing"},
    ),
    "a hold is gone": (lambda rows: rows["legal_hold"].pop(0), {"hold.row_missing", "hold_end.row_missing"}),
    "a hold that nobody put there": (
        lambda rows: rows["legal_hold"].append({"id": "x", "placed_by": "omar", "lifted_by": ""}),
        {"hold.entry_missing"},
    ),
    "a hold is lifted by nobody": (
        lambda rows: rows["legal_hold"][2].update(lifted_by="rita"),
        {"hold_end.entry_missing"},
    ),
    "a hold was lifted by another": (
        lambda rows: rows["legal_hold"][1].update(lifted_by="omar"),
        {"hold_end.entry_missing", "hold_end.row_missing"},
    ),
    "a hold is on again": (lambda rows: rows["legal_hold"][0].update(lifted_by=""), {"hold_end.row_missing"}),
}


@pytest.mark.parametrize("how", CHANGED)
def test_a_row_that_was_changed_past_the_service_is_named(made: Made, how: str) -> None:
    change, names = CHANGED[how]
    change(made.rows)
    assert made.names() == names


def test_an_approval_that_a_hold_took_back_stands_no_more(made: Made) -> None:
    """A row that still says so was not taken back."""
    made.rows["erasure"][2]["decided_by"] = "rita"
    assert made.names() == {"erasure_decision.entry_missing", "erasure_decision.row_missing"}
