"""Facts, pages and parties of a case against the entries with which they came.

They have no entry each: the entry of the change that brought them counts them. A fact's row says with which version of
the case it came; pages and parties are compared as a whole.
"""

from __future__ import annotations

from collections import Counter
from itertools import repeat

from diwan.ledger.twins import CaseData, Found, Said

NOT_COUNTED = "cases opened before entries counted facts, pages and parties"


def compare_dossier(data: CaseData, found: Found) -> None:
    """Each entry against the facts of its version; all pages and parties against what all entries say."""
    if not data.entries or _brought(data.entries[0], "facts") is None:
        found.counts[NOT_COUNTED] += 1
        return
    there = Counter({row["version"]: row["count"] for row in data.rows["fact"]})
    told = Counter({each.seq: _brought(each, "facts") or 0 for each in data.entries})
    found.match("fact", (("entry", seq) for seq in there.elements()), (("entry", seq) for seq in told.elements()))
    for what, name in (("page", "pages"), ("party", "parties")):
        rows = sum(row["count"] for row in data.rows[what])
        entries = sum(_brought(each, name) or 0 for each in data.entries)
        found.match(what, repeat((), rows), repeat((), entries))


def _brought(entry: Said, name: str) -> int | None:
    count = entry.detail.get(name)
    return count if isinstance(count, int) else None
