"""The ledger's tree recomputed: every entry has one place, in its chain's order, and every root is over its leaves.

RFC 6962 with SHA-256 over the entries' hashes; tiles and checkpoints as c2sp.org/tlog-tiles and tlog-checkpoint say.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Sequence

from tests.faults.evidence import Evidence, Report, Row, Stored

_WIDTH = 256


def check(stored: Stored, evidence: Evidence, report: Report) -> None:
    entries = {_key(entry): bytes(entry["hash"]) for entry in stored["entry"]}
    waiting = {_key(row) for row in stored["ledger_pending"]}
    of_shard: dict[str, list[Row]] = defaultdict(list)
    for leaf in stored["ledger_leaf"]:
        of_shard[leaf["shard"]].append(leaf)
    placed = {_key(leaf) for leaf in stored["ledger_leaf"]}
    report.counts["entries placed"] = len(placed)
    for tenant, chain, seq in entries.keys() - placed - waiting:
        report.find("tree.no_place", f"{chain} #{seq}", f"entry of {tenant} without a place, and waiting for none")
    for _, chain, seq in placed & waiting:
        report.find("tree.place_twice", f"{chain} #{seq}", "the entry has its place, and waits for another")
    for shard in stored["ledger_shard"]:
        leaves = of_shard.pop(shard["name"], [])
        _leaves(leaves, entries, report)
        _roots(shard, [bytes(leaf["hash"]) for leaf in leaves], stored, report)
    for name in of_shard:
        report.find("tree.no_shard", name, "leaves of a log that is not there")


def _key(row: Row) -> tuple[str, str, int]:
    return row["tenant"], row["chain"], row["seq"]


def _leaves(leaves: list[Row], entries: dict[tuple[str, str, int], bytes], report: Report) -> None:
    last: dict[tuple[str, str], int] = {}
    for expected, leaf in enumerate(leaves):
        where = f"{leaf['shard']} leaf {leaf['idx']}"
        if leaf["idx"] != expected:
            report.find("tree.gap", where, f"leaf {expected} is not there")
            return
        there = entries.get(_key(leaf))
        if there is None:
            report.find("tree.entry_missing", where, f"entry {leaf['chain']} #{leaf['seq']} is not there")
        elif there != bytes(leaf["hash"]):
            report.find("tree.leaf_differs", where, "the leaf is not the hash of its entry")
        chain = (leaf["tenant"], leaf["chain"])
        if leaf["seq"] <= last.get(chain, 0):
            report.find("tree.out_of_order", where, f"#{leaf['seq']} stands after #{last[chain]} of its chain")
        last[chain] = leaf["seq"]


def _roots(shard: Row, hashes: list[bytes], stored: Stored, report: Report) -> None:
    if (shard["size"], bytes(shard["root"])) != (len(hashes), root(hashes)):
        report.find(
            "tree.root_differs", shard["name"], f"size {shard['size']} and its root are not of {len(hashes)} leaves"
        )
    tiles = {
        (row["level"], row["idx"]): bytes(row["hashes"])
        for row in stored["ledger_tile"]
        if row["shard"] == shard["name"]
    }
    if tiles != _tiles(hashes):
        report.find("tree.tile_differs", shard["name"], "the tiles are not those of the leaves")
    for row in stored["ledger_checkpoint"]:
        if row["shard"] != shard["name"]:
            continue
        report.counts["checkpoints"] += 1
        expected = root(hashes[: row["size"]])
        said = f"{shard['origin']}\n{row['size']}\n{base64.b64encode(expected).decode()}\n\n".encode()
        if row["size"] > len(hashes) or bytes(row["root"]) != expected or not bytes(row["note"]).startswith(said):
            report.find("tree.checkpoint_differs", f"{shard['name']} at {row['size']}", "it is of another tree")


def root(hashes: Sequence[bytes]) -> bytes:
    """Over leaf hashes, RFC 6962."""
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\x01" + root(hashes[:split]) + root(hashes[split:])).digest()


def _tiles(hashes: list[bytes]) -> dict[tuple[int, int], bytes]:
    tiles: dict[tuple[int, int], bytes] = {}
    level = 0
    while hashes:
        above: list[bytes] = []
        for index in range(-(-len(hashes) // _WIDTH)):
            row = hashes[index * _WIDTH : (index + 1) * _WIDTH]
            tiles[level, index] = b"".join(row)
            if len(row) == _WIDTH:
                above.append(root(row))
        hashes, level = above, level + 1
    return tiles
