"""Faults planted in the ledger's tree: a place too few or too many, another order, hashes of something else."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Copy

PLANTED: dict[str, tuple[str, set[str]]] = {
    "a place is lost": (
        "delete from ledger_leaf where idx = (select max(idx) from ledger_leaf)",
        {"tree.no_place", "tree.root_differs", "tree.tile_differs", "tree.checkpoint_differs"},
    ),
    "a place in the middle is lost": (
        "delete from ledger_leaf where idx = 7",
        {"tree.no_place", "tree.gap", "tree.root_differs", "tree.tile_differs", "tree.checkpoint_differs"},
    ),
    "an entry waits that has its place": (
        "insert into ledger_pending select tenant, chain, seq, hash from ledger_leaf where idx = 7",
        {"tree.place_twice"},
    ),
    "a leaf is another hash": (
        "update ledger_leaf set hash = sha256('x') where idx = 7",
        {"tree.leaf_differs", "tree.root_differs", "tree.tile_differs", "tree.checkpoint_differs"},
    ),
    "a leaf is of no entry": (
        "update ledger_leaf set seq = 9999 where idx = (select max(idx) from ledger_leaf)",
        {"tree.no_place", "tree.entry_missing"},
    ),
    "two entries of a chain are exchanged": (
        "with two as (select min(idx) as a, max(idx) as b from ledger_leaf "
        "where chain = (select chain from ledger_leaf where idx = 7)) "
        "update ledger_leaf l set seq = o.seq, hash = o.hash from two, ledger_leaf o "
        "where l.idx in (two.a, two.b) and o.idx in (two.a, two.b) and l.idx <> o.idx",
        {"tree.out_of_order", "tree.root_differs", "tree.tile_differs", "tree.checkpoint_differs"},
    ),
    "the tree has another root": ("update ledger_shard set root = sha256('x')", {"tree.root_differs"}),
    "the tree says that it is smaller": ("update ledger_shard set size = size - 1", {"tree.root_differs"}),
    "the log is lost": ("delete from ledger_shard", {"tree.no_shard"}),
    "a tile is another": ("update ledger_tile set hashes = sha256('x')", {"tree.tile_differs"}),
    "a checkpoint is of another tree": (
        "update ledger_checkpoint set note = convert_to(replace(convert_from(note, 'UTF8'), chr(10), ' '), 'UTF8')",
        {"tree.checkpoint_differs"},
    ),
    "a checkpoint is ahead": ("update ledger_checkpoint set size = size + 1", {"tree.checkpoint_differs"}),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_by_its_name(copy: Copy, fault: str) -> None:
    statement, names = PLANTED[fault]
    copy.plant("alter table ledger_leaf drop constraint ledger_leaf_tenant_chain_seq_key")
    copy.plant(statement)
    assert copy.check().names == names
