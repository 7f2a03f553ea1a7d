"""What a superuser does to the tree, and what the check says of it: by name, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest

from diwan.ledger.checkpoint import Checkpoint, parse_checkpoint
from diwan.ledger.note import new_key, parse_vkey
from diwan.ledger.policy import Policy
from diwan.ledger.tree import root_of
from diwan.sequencer import Sequencer
from diwan.store.database import Database
from diwan.store.ledger_tree_check import TreeReport, verify_tree
from tests.sequencer.conftest import Write
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT
from tests.support.growing import OwnSigner


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[OwnSigner]:
    """Of one test, as the log is."""
    made = OwnSigner(tmp_path / "signer")
    yield made
    made.memory.close()


@pytest.fixture
async def full(database: TestDatabase, sequencer: Sequencer, write: Write) -> None:
    """300 entries in the tree, signed, and three that wait."""
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "truncate entry, ledger_pending, ledger_leaf, ledger_tile, ledger_checkpoint, ledger_shard cascade"
        )
    await write(296, "tests/a")
    await write(4, "tests/b")
    await sequencer.grow_once()
    await sequencer.publish_once()
    await write(3, "tests/c")


async def checked(
    connect: Callable[[str], Database], policy: Policy | None = None, kept: tuple[Checkpoint, ...] = ()
) -> TreeReport:
    async with connect("diwan_auditor").transaction(TENANT, snapshot=True) as conn:
        return await verify_tree(conn, TENANT, policy=policy, kept=kept)


async def test_what_holds(full: None, connect: Callable[[str], Database], signer: OwnSigner) -> None:
    (vkey,) = signer.memory.keys()
    report = await checked(connect, Policy((parse_vkey(vkey),)))
    assert report == TreeReport(
        placed=300, waiting=3, leaves=300, signed=300, witnessed=300, of_others=0, first_bad=None
    )


async def test_a_checkpoint_of_somebody_else_is_not_the_auditors(
    full: None, connect: Callable[[str], Database]
) -> None:
    report = await checked(connect, Policy((new_key("ledger.example/log/2026").verifier,)))
    assert "No log of the policy" in str(report.first_bad)


async def test_what_somebody_kept_is_compared_with_the_tree_of_today(
    full: None, connect: Callable[[str], Database], sequencer: Sequencer, signer: OwnSigner
) -> None:
    (vkey,) = map(parse_vkey, signer.memory.keys())
    note = signer.memory.last(vkey.name)
    assert note is not None
    kept = parse_checkpoint(note.text)
    await sequencer.grow_once()
    await sequencer.publish_once()
    assert (await checked(connect, kept=(kept,))).first_bad is None
    for other in (
        replace(kept, root=bytes(32)),
        replace(kept, size=kept.size - 1),
        replace(kept, size=5_000),
        replace(kept, origin="ledger.example/gone/2026"),
    ):
        assert (await checked(connect, kept=(kept, other))).first_bad is not None


async def test_a_leaf_that_was_made_up_is_found(
    full: None, connect: Callable[[str], Database], database: TestDatabase, signer: OwnSigner
) -> None:
    """By whoever may grow the tree: a hash in its tiles, signed, of an entry that nobody has."""
    forged = sha256(b"\x00an entry that was never written").digest()
    with psycopg.connect(database.url("diwan_sequencer")) as connection:
        leaves = [bytes(row[0]) for row in connection.execute("select hash from ledger_leaf order by idx").fetchall()]
        root = root_of([*leaves, forged])
        connection.execute("update ledger_tile set hashes = hashes || %s where level = 0 and idx = 1", (forged,))
        connection.execute("update ledger_shard set size = size + 1, root = %s", (root,))
    bad = (await checked(connect)).first_bad
    assert bad is not None
    assert (bad.reason, "leaf 300" in str(bad)) == ("tree.leaf_missing", True)


# Done to the database by whoever owns the machine; what the check says first.
DONE = {
    # back-dated, its own hash computed anew
    "update entry set at = at - interval '1000 years', header = "
    "convert_to(replace(convert_from(header, 'UTF8'), '\"at\":\"2', '\"at\":\"1'), 'UTF8') "
    "where chain = 'tests/a' and seq = 7; update entry set hash = sha256('\\x00'::bytea || header) "
    "where chain = 'tests/a' and seq = 7": ("tree.leaf_differs", "leaf 6"),
    "delete from entry where chain = 'tests/a' and seq = 7": ("entry.missing", "leaf 6"),
    "update entry set hash = sha256('x') where chain = 'tests/a' and seq = 7": ("tree.leaf_differs", "leaf 6"),
    "update ledger_leaf set hash = sha256('x') where idx = 6": ("tree.leaf_differs", "leaf 6"),
    "update ledger_leaf set idx = 999 where idx = 5; update ledger_leaf set idx = 5 where idx = 6;"
    "update ledger_leaf set idx = 6 where idx = 999": ("tree.leaf_differs", "leaf 5"),
    "delete from ledger_leaf where idx = 6": ("tree.leaf_missing", "leaf 6"),
    "delete from entry where chain = 'tests/b' and seq = 4; delete from ledger_leaf where idx = 299": (
        "tree.leaf_missing",
        "leaf 299",
    ),
    "delete from entry where chain = 'tests/a' and seq = 7; delete from ledger_leaf where idx = 6;"
    "update ledger_leaf set idx = idx - 1 where idx > 6": ("tree.leaf_differs", "leaf 6"),
    "insert into ledger_leaf select shard, 300, tenant, 'tests/never', 1, sha256('x'), now() "
    "from ledger_leaf where idx = 0": (
        "tree.leaf_missing",
        "leaf 300",
    ),
    "delete from ledger_pending where chain = 'tests/c'": ("tree.no_place", "chain tests/c, entry 1"),
    "update ledger_tile set hashes = overlay(hashes placing sha256('x') from 193) where level = 0 and idx = 0": (
        "tree.tile_differs",
        "tile/0/000",
    ),
    "update ledger_tile set hashes = overlay(hashes placing sha256('x') from 193) where level = 0 and idx = 1": (
        "tree.root_differs",
        "root",
    ),
    "update ledger_tile set hashes = sha256('x') where level = 1": ("tree.tile_differs", "tile/0/000"),
    "delete from ledger_tile where level = 0 and idx = 0": ("tree.tile_width", "tile/0/001"),
    "delete from ledger_tile where level = 0 and idx = 1": ("tree.tile_missing", "level 0"),
    "update ledger_tile set hashes = hashes || sha256('x') where level = 0 and idx = 1": (
        "tree.tile_width",
        "tile/0/001",
    ),
    "insert into ledger_tile select shard, 0, 2, hashes from ledger_tile where level = 0 and idx = 0": (
        "tree.tile_beyond",
        "tile/0/002",
    ),
    "update ledger_shard set root = sha256('x')": ("tree.root_differs", "root"),
    "update ledger_shard set size = 299": ("tree.tile_width", "tile/0/001"),
    "update ledger_checkpoint set root = sha256('x')": ("tree.checkpoint_differs", "300"),
    "update ledger_checkpoint set size = 299": ("tree.checkpoint_differs", "299"),
    "update ledger_checkpoint set note = note || 'x'": ("note.malformed", "300"),
}


@pytest.mark.parametrize("statement", DONE)
async def test_what_was_done_to_it_is_named(
    full: None, connect: Callable[[str], Database], database: TestDatabase, statement: str
) -> None:
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute("set session_replication_role = replica")
        for each in statement.split(";"):
            assert connection.execute(each.encode()).rowcount
    bad = (await checked(connect)).first_bad
    assert bad is not None
    reason, where = DONE[statement]
    assert bad.reason == reason
    assert where in str(bad)
