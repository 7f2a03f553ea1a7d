"""What a case's bundle is made of, read in one snapshot: entries, their places, checkpoints, what they commit to."""

from __future__ import annotations

import base64
from collections.abc import Collection

import orjson
from sqlalchemy import text

from diwan.domain.errors import NotFound, Retry
from diwan.domain.ports import Cipher, RetentionClass
from diwan.ledger.bundle import Bundle, Opened, PlacedEntry
from diwan.ledger.tree import Node, inclusion_proof
from diwan.store.change import CaseRow
from diwan.store.connection import Connection
from diwan.store.entries import body_context
from diwan.store.ledger_tree import Published, published, read_tree


async def bundle_of(
    conn: Connection, case: CaseRow, cipher: Cipher, told: dict[str, str], *, withheld: Collection[int] = ()
) -> Bundle:
    """All of a case; of entries in `withheld` what they commit to stays sealed, as of those whose key is destroyed.

    Raises `Retry` (`ledger.not_yet`) while no checkpoint has the case's last entry.
    """
    rows = (await conn.execute(_ENTRIES, {"tenant": case.tenant, "chain": case.id})).all()
    notes: dict[str, Published] = {}
    entries: list[PlacedEntry] = []
    for shard in sorted({row.shard or "" for row in rows}):
        found = await published(conn, shard) if shard else None
        indexes = [row.idx for row in rows if (row.shard or "") == shard]
        if found is None or found.size <= max(indexes):
            raise Retry("ledger.not_yet", "No checkpoint has all entries of this case yet.", "Try again in a second.")
        notes[shard] = found
        size = found.size

        def ask(node: Node, indexes: list[int] = indexes, size: int = size) -> list[list[bytes]]:
            return [inclusion_proof(index, size, node) for index in indexes]

        proofs = dict(zip(indexes, await read_tree(conn, shard, size, ask), strict=True))
        entries += [
            PlacedEntry(
                row.header,
                shard,
                row.idx,
                tuple(proofs[row.idx]),
                None if row.seq in withheld else _opened(cipher, case.id, row.seq, row.body_sealed),
            )
            for row in rows
            if row.shard == shard
        ]
    procedures = await conn.execute(_PROCEDURES, {"tenant": case.tenant, "chain": case.id})
    return Bundle(
        told=told | {"tenant": case.tenant, "case": case.id, "number": case.number},
        entries=entries,
        notes={shard: each.note for shard, each in notes.items()},
        procedures={row.hash: row.body.encode() for row in procedures},
    )


# In the chain's order; shards follow each other, so this is the order of places too.
_ENTRIES = text(
    "SELECT e.seq, e.header, e.body_sealed, l.shard, l.idx FROM entry e "
    "LEFT JOIN ledger_leaf l USING (tenant, chain, seq) WHERE e.tenant = :tenant AND e.chain = :chain ORDER BY e.seq"
)
_PROCEDURES = text(
    "SELECT DISTINCT p.hash, p.body FROM procedure_version p JOIN case_file c ON c.tenant = p.tenant "
    "AND c.procedure_hash = p.hash WHERE c.tenant = :tenant AND c.id = :chain"
)


def _opened(cipher: Cipher, chain: str, seq: int, sealed: bytes | None) -> Opened | None:
    """None where nothing is committed to, or its key is destroyed. Raises `Tampered` where it does not open."""
    if sealed is None:
        return None
    try:
        opened = orjson.loads(cipher.open(RetentionClass.DECISION, body_context(chain, seq), sealed))
    except NotFound:
        return None
    committed = {name: (base64.b64decode(s), base64.b64decode(d)) for name, (s, d) in opened["committed"].items()}
    return Opened(committed, opened.get("body"))
