"""Proofs of single entries, out of the tree as stored and its last checkpoint."""

from __future__ import annotations

from sqlalchemy import text

from diwan.domain.errors import NotFound, Retry
from diwan.ledger.note import parse_note
from diwan.ledger.proof import EntryProof
from diwan.ledger.tree import inclusion_proof
from diwan.store.connection import Connection
from diwan.store.ledger_tree import leaf_of, published, read_tree


async def prove_entry(conn: Connection, tenant: str, chain: str, seq: int) -> EntryProof:
    """Entry `seq` of a chain, a case's by its id or number, in the last checkpoint; its header is the extra data.

    Raises `NotFound` for no such entry of the transaction's tenant, `Retry` (`ledger.not_yet`) while no checkpoint has
    it, which is for a second as a rule.
    """
    chain = (await conn.execute(_CHAIN, {"tenant": tenant, "name": chain})).scalar_one_or_none() or chain
    there = await conn.execute(_THERE, {"tenant": tenant, "chain": chain, "seq": seq})
    if not there.scalar_one():
        raise NotFound(
            "ledger.no_such_entry", "There is no such entry.", "Check case and number: diwan case show --story"
        )
    leaf = await leaf_of(conn, tenant, chain, seq)
    found = None if leaf is None else await published(conn, leaf.shard)
    if leaf is None or found is None or found.size <= leaf.index:
        raise Retry(
            "ledger.not_yet", "No checkpoint has this entry yet.", "Try again; see that sequencer and signer run."
        )
    size = found.size
    hashes = await read_tree(conn, leaf.shard, size, lambda node: inclusion_proof(leaf.index, size, node))
    return EntryProof(leaf.index, tuple(hashes), parse_note(found.note), leaf.header)


_CHAIN = text("SELECT id FROM case_file WHERE tenant = :tenant AND number = :name")
_THERE = text("SELECT EXISTS (SELECT FROM entry WHERE tenant = :tenant AND chain = :chain AND seq = :seq)")
