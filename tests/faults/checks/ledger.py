"""The ledger recomputed from its written format: hash, canonical form, link, number, and each case's head.

An entry's hash is SHA-256(0x00 || header), the leaf hash of RFC 6962; the header is canonical JSON (RFC 8785).
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict

from tests.faults.evidence import Evidence, Report, Row, Stored


def check(stored: Stored, evidence: Evidence, report: Report) -> None:
    chains: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for entry in stored["entry"]:
        chains[entry["tenant"], entry["chain"]].append(entry)
    report.counts["entries"] = len(stored["entry"])
    report.counts["chains"] = len(chains)
    for chain, entries in chains.items():
        _chain(chain, entries, report)
    cases = {(case["tenant"], case["id"]): case for case in stored["case_file"]}
    for key, case in cases.items():
        _head(case, chains.get(key, []), report)
    for tenant, chain in chains.keys() - cases.keys():
        if "/" not in chain:
            report.find("ledger.case_missing", chain, f"entries of a case that tenant {tenant} does not have")


def _chain(chain: tuple[str, str], entries: list[Row], report: Report) -> None:
    previous: Row | None = None
    for expected, entry in enumerate(entries, start=1):
        where = f"{chain[1]} #{entry['seq']}"
        if entry["seq"] != expected:
            report.find("ledger.entry_missing", where, f"entry {expected} of the chain is not there")
            return
        if hashlib.sha256(b"\x00" + bytes(entry["header"])).digest() != bytes(entry["hash"]):
            report.find("ledger.hash_differs", where, "the hash is not that of the header")
        if _bytes(entry["prev_hash"]) != (bytes(previous["hash"]) if previous else None):
            report.find("ledger.link_differs", where, "the entry does not name the one before it")
        if _canonical(entry["said"]) != bytes(entry["header"]):
            report.find("ledger.not_canonical", where, "the header is not the canonical form of what it says")
        _columns(entry, where, report)
        previous = entry


def _columns(entry: Row, where: str, report: Report) -> None:
    said = entry["said"]
    previous = _bytes(entry["prev_hash"])
    there = (entry["tenant"], entry["chain"], entry["seq"], entry["kind"], previous.hex() if previous else None)
    if there != tuple(said.get(name) for name in ("tenant", "chain", "seq", "kind", "prev")):
        report.find("ledger.columns_differ", where, "the header and the columns beside it say different things")
    if said.get("at") != entry["at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ"):
        report.find("ledger.columns_differ", where, "the header and the column beside it name different instants")
    of_case = (said.get("case", ""), said.get("case_seq", 0))
    if of_case != (("", 0) if "/" in entry["chain"] else (entry["chain"], entry["seq"])):
        report.find("ledger.columns_differ", where, "the entry names another case or version than its place")


def _head(case: Row, entries: list[Row], report: Report) -> None:
    where = case["id"]
    if not entries:
        report.find("ledger.entry_missing", where, "a case without any entry")
        return
    last = entries[-1]
    if case["version"] != last["seq"] or case["version"] != len(entries):
        text = f"version {case['version']}, {len(entries)} entries, the last is {last['seq']}"
        report.find("ledger.version_differs", where, text)
    if bytes(case["head"]) != bytes(last["hash"]):
        report.find("ledger.head_differs", where, "the case's head is not its last entry")


def _canonical(said: Row) -> bytes:
    """RFC 8785 for what a header holds: integers, strings, booleans, names of ASCII letters."""
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _bytes(value: object) -> bytes | None:
    return bytes(value) if value is not None else None  # type: ignore[call-overload]
