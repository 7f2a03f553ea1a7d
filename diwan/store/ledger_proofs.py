"""Proofs of single entries, out of the tree as stored and its last checkpoint."""

from __future__ import annotations

from sqlalchemy import text

from diwan.domain.errors import NeedsPerson, NotFound, Retry
from diwan.ledger.note import parse_note
from diwan.ledger.policy import Policy
from diwan.ledger.proof import EntryProof
from diwan.ledger.tree import inclusion_proof
from diwan.store.connection import Connection
from diwan.store.ledger_cosigned import witnessed
from diwan.store.ledger_tails import was_left
from diwan.store.ledger_tree import leaf_of, published, read_tree


async def prove_entry(
    conn: Connection, tenant: str, chain: str, seq: int, *, policy: Policy | None = None
) -> EntryProof:
    """Entry `seq` of a chain, a case's by its id or number, in a checkpoint that satisfies the policy, or that most
    witnesses cosigned; its header is the extra data.

    Raises `NotFound` for no such entry of the transaction's tenant, `Retry` while no checkpoint has it, which is for a
    second as a rule (`ledger.not_yet`), or none that satisfies the policy (`ledger.not_witnessed`); `NeedsPerson`
    (`ledger.log_left`) where none will.
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
        raise await not_signed(conn, None if leaf is None else leaf.shard)
    found = await witnessed(conn, leaf.shard, covers=leaf.index + 1, policy=policy)
    if found is None:
        raise not_witnessed()
    size = found.size
    hashes = await read_tree(conn, leaf.shard, size, lambda node: inclusion_proof(leaf.index, size, node))
    return EntryProof(leaf.index, tuple(hashes), parse_note(found.note), leaf.header)


async def not_signed(conn: Connection, shard: str | None, what: str = "this entry") -> Retry | NeedsPerson:
    """Of an entry that has its place in `shard`, or none yet, and that no checkpoint has."""
    if shard is not None and await was_left(conn, shard):
        return NeedsPerson(
            "ledger.log_left",
            f"The log {shard} was left for another one before any checkpoint had {what}.",
            "Only a checkpoint by that log's own signer would have it. docs/ledger.md says how it came to this.",
        )
    return Retry("ledger.not_yet", f"No checkpoint has {what} yet.", "Try again; see that sequencer and signer run.")


def not_witnessed() -> Retry:
    return Retry(
        "ledger.not_witnessed",
        "No checkpoint that has this satisfies your policy yet.",
        "Witnesses take a few seconds, those without a network days; see that the policy's keys are the right ones.",
    )


_CHAIN = text("SELECT id FROM case_file WHERE tenant = :tenant AND number = :name")
_THERE = text("SELECT EXISTS (SELECT FROM entry WHERE tenant = :tenant AND chain = :chain AND seq = :seq)")
