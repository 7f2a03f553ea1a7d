"""Erasures and legal holds of a case against its entries: who asked, who decided, what was carried out, who held it.

An approval that a hold took back stands no more: the row says nothing of it, and only the last one has its twin.
"""

from __future__ import annotations

from collections.abc import Container

from diwan.domain.ports import RetentionClass
from diwan.ledger.twins import CaseData, Found, Key, Row, Said

_BEGUN = ("started", "done")


def compare_erasures(data: CaseData, found: Found) -> None:
    rows = data.rows["erasure"]
    found.match("erasure", map(_asked, rows), map(_told_asked, data.of("case:erasure:asked")))
    decided = ((row["id"], _decision(row), row["decided_by"]) for row in rows if row["status"] != "asked")
    found.match("erasure_decision", decided, _decisions(data))
    begun = ((row["id"],) for row in rows if row["status"] in _BEGUN)
    found.match("erasure_start", begun, map(_erasure, data.of("case:erasure:started")))
    done = ((row["id"],) for row in rows if row["status"] == "done")
    found.match("erasure_end", done, map(_erasure, data.of("case:keys:destroyed")))
    holds = data.rows["legal_hold"]
    found.match("hold", ((row["id"], row["placed_by"]) for row in holds), map(_hold, data.of("case:hold:placed")))
    lifted = ((row["id"], row["lifted_by"]) for row in holds if row["lifted_by"])
    found.match("hold_end", lifted, map(_hold, data.of("case:hold:lifted")))


def compare_keys(data: CaseData, gone: Container[RetentionClass], found: Found) -> None:
    """The keys that the vault has destroyed (`gone`) are those that the ledger tells of, whatever order it was shown.

    Between `started` and `destroyed` a key may be there still; after it none is, but in a vault that was restored past
    its journal of destructions.
    """
    begun, destroyed = (_classes(data, *kinds) for kinds in (_DESTROYING, _DESTROYING[1:]))
    for retention in RetentionClass:
        if retention in gone:
            found.counts["keys destroyed"] += 1
            if retention not in begun:
                text = "the vault has destroyed it, or never had it, and no entry tells of an erasure"
                found.find("key.destroyed_untold", retention.value, text)
        elif retention in destroyed:
            found.find(
                "key.still_there", retention.value, "the ledger tells that it is destroyed, and the vault has it"
            )


_DESTROYING = ("case:erasure:started", "case:keys:destroyed")


def _classes(data: CaseData, *kinds: str) -> set[str]:
    return {each for entry in data.of(*kinds) for each in str(entry.detail.get("classes", "")).split(",")}


def _asked(row: Row) -> Key:
    kept_until = row["kept_until"].isoformat() if row["kept_until"] else None
    return (row["id"], ",".join(row["classes"]), row["ground"], row["asked_by"][:200], kept_until, row["legal_basis"])


def _told_asked(entry: Said) -> Key:
    said = (entry.detail.get(name) for name in ("erasure", "classes", "ground", "asked_by", "kept_until"))
    return (*said, entry.header.get("legal_basis", ""))


def _decision(row: Row) -> str:
    return "declined" if row["status"] == "declined" else "approved"


def _decisions(data: CaseData) -> list[Key]:
    """Those that stand, as (erasure, what, by whom), each time that it is told."""
    approved: dict[object, list[Key]] = {}
    settled: list[Key] = []
    for entry in data.entries:
        erasure = entry.detail.get("erasure")
        if entry.kind == "case:erasure:approved":
            approved.setdefault(erasure, []).append((erasure, "approved", _by(entry)))
        elif entry.kind == "case:erasure:declined":
            approved.pop(erasure, None)
            settled.append((erasure, "declined", _by(entry)))
        elif entry.kind == "case:erasure:started":
            settled += approved.pop(erasure, [])
        elif entry.kind == "case:hold:placed":
            approved.clear()
    return [*settled, *(each for told in approved.values() for each in told)]


def _erasure(entry: Said) -> Key:
    return (entry.detail.get("erasure"),)


def _hold(entry: Said) -> Key:
    return (entry.detail.get("hold"), _by(entry))


def _by(entry: Said) -> str:
    return str(entry.header.get("actor", {}).get("subject", ""))
