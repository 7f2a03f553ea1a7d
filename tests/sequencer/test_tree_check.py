"""What a superuser does to the tree, and what the check says of it: by name, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest

from diwan.domain.actor import system
from diwan.ledger.checkpoint import Checkpoint, parse_checkpoint
from diwan.ledger.note import new_key, parse_vkey
from diwan.ledger.policy import Policy
from diwan.ledger.tree import EMPTY_ROOT, root_of
from diwan.sequencer import Sequencer
from diwan.store.database import Database
from diwan.store.entries import append_entry
from diwan.store.ledger_tree_check import TreeReport, verify_tree
from tests.sequencer.conftest import Write
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT
from tests.support.growing import OwnSigner

OTHER = "another"  # a ministry that the service knows; "ghost" is none


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
        connection.execute("insert into tenant (tenant, settings) values (%s, '{}') on conflict do nothing", (OTHER,))
    await write(296, "tests/a")
    await write(4, "tests/b")
    await sequencer.grow_once()
    await sequencer.publish_once()
    await write(3, "tests/c")


async def checked(
    connect: Callable[[str], Database],
    policy: Policy | None = None,
    kept: tuple[Checkpoint, ...] = (),
    tenant: str = TENANT,
    others: Mapping[str, int | None] | None = None,
) -> TreeReport:
    async with connect("diwan_auditor").transaction(tenant, snapshot=True) as conn:
        return await verify_tree(conn, tenant, policy=policy, kept=kept, others=others)


async def test_what_holds(full: None, connect: Callable[[str], Database], signer: OwnSigner) -> None:
    (vkey,) = signer.memory.keys()
    report = await checked(connect, Policy((parse_vkey(vkey),)))
    assert report == TreeReport(
        placed=300, waiting=3, leaves=300, signed=300, witnessed=300, of_others={}, first_bad=None
    )


async def test_a_log_that_the_policy_names_is_there(
    full: None, connect: Callable[[str], Database], signer: OwnSigner
) -> None:
    """As where the newest log was taken out whole, with all that stood in it."""
    (vkey,) = map(parse_vkey, signer.memory.keys())
    gone = new_key("ledger.example/log/2031").verifier
    bad = (await checked(connect, Policy((vkey, gone)))).first_bad
    assert bad is not None
    assert (bad.reason, "ledger.example/log/2031" in str(bad)) == ("tree.log_missing", True)


async def test_leaves_of_others_are_counted_by_ministry(
    full: None, connect: Callable[[str], Database], sequencer: Sequencer, write: Write
) -> None:
    """Also those of a ministry that was never set up: whoever comes with such a token has refusals on record."""
    await write(5, "tests/o", OTHER)
    await write(2, "tests/o", "ghost")
    await sequencer.grow_once()
    report = await checked(connect)
    assert (report.of_others, report.unknown, report.first_bad) == ({OTHER: 5, "ghost": 2}, ("ghost",), None)
    theirs = await checked(connect, tenant=OTHER)
    assert (theirs.placed, theirs.of_others, theirs.first_bad) == (5, {TENANT: 303, "ghost": 2}, None)


async def test_an_auditor_says_which_others_have_leaves_and_how_many(
    full: None, connect: Callable[[str], Database], sequencer: Sequencer, write: Write, signer: OwnSigner
) -> None:
    assert (await checked(connect, others={})).first_bad is None
    await write(5, "tests/o", OTHER)
    await write(2, "tests/o", "ghost")
    await sequencer.grow_once()
    await sequencer.publish_once()
    (vkey,) = map(parse_vkey, signer.memory.keys())
    note = signer.memory.last(vkey.name)
    assert note is not None
    kept = (parse_checkpoint(note.text),)
    await write(1, "tests/o", OTHER)
    await sequencer.grow_once()

    async def said(others: Mapping[str, int | None], then: tuple[Checkpoint, ...] = ()) -> str:
        bad = (await checked(connect, kept=then, others=others)).first_bad
        assert bad is None or bad.reason == "tree.others_differ"
        return str(bad or "")

    assert not await said({OTHER: None, "ghost": 2})
    assert not await said({OTHER: 6, "ghost": 2})
    assert not await said({OTHER: 5, "ghost": 2}, kept), "as many as there were at the checkpoint"
    assert "ghost" in await said({OTHER: None})
    assert "leaf 300" in await said({"ghost": None})
    assert f"{OTHER} has 6 leaves, not 5" in await said({OTHER: 5, "ghost": 2})
    assert f"{OTHER} has 5 leaves, not 6" in await said({OTHER: 6, "ghost": 2}, kept)
    assert "third has 0 leaves, not 1" in await said({OTHER: 6, "ghost": 2, "third": 1})
    assert (await checked(connect, kept=kept)).at_checkpoint == {TENANT: 303, OTHER: 5, "ghost": 2}


# Entries taken out, or given away, and their leaves made somebody else's: what each ministry's own check says.
RELABELLED = {
    # to a ministry that nobody is the auditor of
    "delete from entry where chain = 'tests/b'; update ledger_leaf set tenant = 'ghost' where chain = 'tests/b'": {
        TENANT: ("tree.ministry_unknown", "leaf 296"),
        OTHER: ("tree.ministry_unknown", "leaf 296"),
    },
    # to one that has an auditor
    "delete from entry where chain = 'tests/b'; update ledger_leaf set tenant = 'another' where chain = 'tests/b'": {
        TENANT: ("tree.entry_missing", "leaf 296"),
        OTHER: ("entry.missing", "leaf 296"),
    },
    # with the entries, which still say whose they are
    "update entry set tenant = 'another' where chain = 'tests/b'; "
    "update ledger_leaf set tenant = 'another' where chain = 'tests/b'": {
        TENANT: ("tree.entry_missing", "leaf 296"),
    },
    # with others in their place
    "update entry set header = '{}' where chain = 'tests/b'; update entry set tenant = 'ghost' where chain = 'tests/b';"
    "update ledger_leaf set tenant = 'ghost' where chain = 'tests/b'": {
        TENANT: ("tree.ministry_unknown", "leaf 296"),
        OTHER: ("tree.ministry_unknown", "leaf 296"),
    },
}


@pytest.mark.parametrize("statement", RELABELLED)
async def test_leaves_that_were_made_another_ministrys_are_named(
    full: None, connect: Callable[[str], Database], database: TestDatabase, statement: str
) -> None:
    tampered(database, statement)
    for tenant, (reason, where) in RELABELLED[statement].items():
        bad = (await checked(connect, tenant=tenant)).first_bad
        assert bad is not None
        assert (bad.reason, where in str(bad)) == (reason, True)


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


def tampered(database: TestDatabase, statements: str) -> None:
    """By whoever owns the machine."""
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute("set session_replication_role = replica")
        for each in statements.split(";"):
            assert connection.execute(each.encode()).rowcount


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
    tampered(database, statement)
    bad = (await checked(connect)).first_bad
    assert bad is not None
    reason, where = DONE[statement]
    assert bad.reason == reason
    assert where in str(bad)


async def test_a_date_that_is_not_of_its_logs_year_is_told_and_is_no_finding(
    full: None, connect: Callable[[str], Database], database: TestDatabase, sequencer: Sequencer, worker: Database
) -> None:
    """Appended by whoever may write entries. One that waited for its place over the turn of the year is as it should
    be, and so is what came before there was a tree, in the first log of all."""
    year = datetime.now(UTC).year

    async def appended(chain: str, at: datetime) -> None:
        async with worker.transaction(TENANT) as conn:
            await append_entry(conn, TENANT, chain, "tests:entry:written", system(TENANT, "test"), now=at)

    async def told() -> list[tuple[str, str]]:
        await sequencer.grow_once()
        report = await checked(connect)
        assert report.first_bad is None
        return [(each.chain, each.reason) for each in report.odd_dates.first]

    await appended("tests/first", datetime(year - 1, 12, 31, 12, tzinfo=UTC))
    await appended("tests/eve", datetime(year + 1, 1, 1, 0, 30, tzinfo=UTC))
    assert await told() == []
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute(
            "insert into ledger_shard (name, origin, root, opened_at) values ('1999', 'ledger.example/log/1999', %s, "
            "'1999-01-01')",
            (EMPTY_ROOT,),
        )
        await appended("tests/waited", datetime(year - 1, 12, 31, 12, tzinfo=UTC))
        connection.execute(
            "update ledger_pending set added_at = make_timestamptz(%s, 12, 31, 12, 0, 1, 'UTC')", (year - 1,)
        )
    await appended("tests/after", datetime(year + 1, 1, 1, 1, 30, tzinfo=UTC))
    await appended("tests/before", datetime(year - 1, 12, 31, 12, tzinfo=UTC))
    assert await told() == [
        ("tests/first", "date.before_its_log"),
        ("tests/after", "date.after_its_log"),
        ("tests/before", "date.before_its_log"),
    ]
