"""Every entry gets one place, in its chain's order, whoever is killed meanwhile; and what is signed only grows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from diwan import metrics
from diwan.domain.errors import Conflict, NeedsPerson, Refused, Unavailable
from diwan.ledger.checkpoint import parse_checkpoint
from diwan.ledger.note import Note, parse_note, parse_vkey
from diwan.ledger.policy import Policy
from diwan.ledger.proof import EntryProof, check_proof
from diwan.ledger.tree import EMPTY_ROOT, inclusion_proof, root_of
from diwan.sequencer import Sequencer
from diwan.store.database import Database
from diwan.store.ledger_tree import leaf_of, published, read_tree, shards
from diwan.store.ledger_tree_check import verify_tree
from tests.sequencer.conftest import Write
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT
from tests.support.growing import ORIGIN, OwnSigner


def rows(database: TestDatabase, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database.url("postgres")) as connection:
        return connection.execute(query.encode()).fetchall()


def leaves(database: TestDatabase) -> list[bytes]:
    """The hashes of entries by their place, as the entries have them."""
    found = rows(
        database, "select l.idx, e.hash from ledger_leaf l join entry e using (tenant, chain, seq) order by shard, idx"
    )
    assert [at for at, _ in found] == list(range(len(found))), "no gap, no place twice"
    return [bytes(each) for _, each in found]  # type: ignore[arg-type]


async def test_entries_get_their_places_and_the_tree_is_that_of_its_leaves(
    database: TestDatabase, sequencer: Sequencer, write: Write, connect: Callable[[str], Database]
) -> None:
    for count in (1, 254, 1, 1, 700):
        await write(count, f"tests/{count}")
        assert await sequencer.grow_once() == count
        assert await sequencer.grow_once() == 0
        (shard,) = await _shards(connect)
        found = leaves(database)
        assert (shard.size, shard.root) == (len(found), root_of(found))
    assert rows(database, "select count(*) from ledger_pending") == [(0,)]
    assert rows(database, "select octet_length(hashes) from ledger_tile where level = 1") == [(3 * 32,)]


async def _shards(connect: Callable[[str], Database]):
    async with connect("diwan_auditor").transaction(None) as conn:
        return await shards(conn)


async def test_a_chain_keeps_its_order_and_a_late_commit_is_not_missed(
    database: TestDatabase, sequencer: Sequencer, write: Write, worker: Database
) -> None:
    """A transaction that began before others were sequenced commits afterwards: a watermark would skip it."""
    await write(3, "tests/early", together=False)
    with psycopg.connect(database.url("diwan_worker")) as late:
        late.execute("select set_config('diwan.tenant', 'demo', true)")
        header = rows(database, "select header from entry limit 1")[0][0]
        late.execute(
            "insert into entry (tenant, chain, seq, hash, header, kind, at) values "
            "('demo', 'tests/late', 1, sha256('x'), %s, 'tests:entry:written', now())",
            (header,),
        )
        await write(2, "tests/early", together=False)
        before = await sequencer.grow_once()
        late.commit()
    assert before == 5
    assert await sequencer.grow_once() == 1
    order = rows(database, "select chain, seq from ledger_leaf order by shard, idx")
    assert [seq for chain, seq in order if chain == "tests/early"] == [1, 2, 3, 4, 5]
    assert order[-1] == ("tests/late", 1)


async def test_several_sequencers_give_no_place_twice(
    database: TestDatabase, connect: Callable[[str], Database], signer: OwnSigner, write: Write
) -> None:
    before = len(leaves(database))
    several = [Sequencer(connect("diwan_sequencer"), signer, ORIGIN, at_most=7) for _ in range(4)]

    async def all_of(one: Sequencer) -> int:
        return sum([await one.grow_once() for _ in range(20)])

    await write(150, "tests/many")
    done = await asyncio.gather(*map(all_of, several))
    assert sum(done) == 150
    assert len(leaves(database)) == before + 150


async def test_a_checkpoint_follows_growth_and_none_comes_without(
    sequencer: Sequencer, write: Write, connect: Callable[[str], Database], signer: OwnSigner, database: TestDatabase
) -> None:
    await write(3, "tests/signed")
    await sequencer.grow_once()
    await sequencer.publish_once()
    auditor = connect("diwan_auditor")
    async with auditor.transaction(TENANT) as conn:
        (shard,) = await shards(conn)
        found = await published(conn)
        leaf = await leaf_of(conn, TENANT, "tests/signed", 2)
        assert found is not None
        assert leaf is not None
        hashes = await read_tree(
            conn, shard.name, shard.size, lambda node: inclusion_proof(leaf.index, shard.size, node)
        )
    note = parse_note(found.note)
    checkpoint = parse_checkpoint(note.text)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (f"{ORIGIN}/{shard.name}", shard.size, shard.root)
    (vkey,) = signer.memory.keys()
    proof = EntryProof(leaf.index, tuple(hashes), note)
    assert check_proof(proof, leaf.header, Policy((parse_vkey(vkey),))) == checkpoint
    before = rows(database, "select size, note from ledger_checkpoint order by hour")
    await sequencer.publish_once()
    assert rows(database, "select size, note from ledger_checkpoint order by hour") == before


async def test_another_origin_begins_a_log_beside_the_old_one(
    sequencer: Sequencer, write: Write, connect: Callable[[str], Database], tmp_path: Path, database: TestDatabase
) -> None:
    """As after entries were lost that had been signed: the old log stays as it is, and is nobody's to go on with."""
    await write(2, "tests/old")
    await sequencer.grow_once()
    await sequencer.publish_once()
    before = await _shards(connect)
    signer = OwnSigner(tmp_path / "new", "ledger.example/second")
    second = Sequencer(connect("diwan_sequencer"), signer, "ledger.example/second")
    await write(3, "tests/old")
    assert await second.grow_once() == 3
    await second.publish_once()
    newest, *older = await _shards(connect)
    assert older == before
    assert (newest.origin.rpartition("/")[0], newest.size) == ("ledger.example/second", 3)
    (vkey,) = signer.memory.keys()
    assert parse_vkey(vkey).name == newest.origin
    signer.memory.close()
    forget(database, newest.name)


async def test_a_log_that_was_left_for_another_is_not_gone_on_with(
    sequencer: Sequencer, write: Write, connect: Callable[[str], Database], signer: OwnSigner, database: TestDatabase
) -> None:
    """From A to B and back, as where the origin was mistyped once: a chain would go on in a log before its last one.
    Also the next year's log is none of A's."""
    await write(2, "tests/there_and_back")
    await sequencer.grow_once()
    second = Sequencer(connect("diwan_sequencer"), signer, "ledger.example/mistyped")
    await write(1, "tests/there_and_back")
    assert await second.grow_once() == 1
    (newest, older) = await _shards(connect)
    try:
        await write(1, "tests/there_and_back")
        with pytest.raises(NeedsPerson) as error:
            await sequencer.grow_once()
        assert (error.value.code, newest.origin in error.value.message) == ("ledger.other_log", True)
        assert "DIWAN_LEDGER_ORIGIN" in error.value.remedy
        assert [each.size for each in await _shards(connect)] == [1, older.size]
        assert await second.grow_once() == 1
        third = Sequencer(connect("diwan_sequencer"), signer, "ledger.example/third")
        await write(1, "tests/there_and_back")
        assert await third.grow_once() == 3, "with what nobody ever signed of the second log"
        for left in (sequencer, second):
            await write(1, "tests/there_and_back")
            with pytest.raises(NeedsPerson):
                await left.grow_once()
            assert await third.grow_once() == 1
        async with connect("diwan_auditor").transaction(TENANT, snapshot=True) as conn:
            assert (await verify_tree(conn, TENANT)).first_bad is None
    finally:
        for each in (await _shards(connect))[:-1]:
            forget(database, each.name)


async def test_of_two_sequencers_with_two_origins_one_places_everything(
    write: Write, connect: Callable[[str], Database], signer: OwnSigner, database: TestDatabase
) -> None:
    """At once: the one that began its log last goes on, the other stops at its next pass."""
    before = {each.name for each in await _shards(connect)}
    await write(120, "tests/two_origins")
    two = [Sequencer(connect("diwan_sequencer"), signer, f"ledger.example/two-{n}", at_most=7) for n in range(2)]

    async def all_of(one: Sequencer) -> bool:
        while True:
            try:
                if not await one.grow_once():
                    return True
            except Unavailable as error:
                assert error.code == "ledger.still_grows"  # noqa: PT017 - and is tried again
            except NeedsPerson as error:
                return error.code != "ledger.other_log"

    try:
        went_on = await asyncio.gather(*map(all_of, two))
        assert sorted(went_on) in ([False, True], [True, True])  # the first may have been through with it
        went_on = list[bool]()
        for one in two:  # each has something to place
            await write(3, "tests/two_origins")
            went_on.append(await all_of(one))
        assert sorted(went_on) == [False, True]
        await all_of(two[went_on.index(True)])
        order = rows(
            database,
            "select l.seq from ledger_leaf l join ledger_shard s on s.name = l.shard "
            "where chain = 'tests/two_origins' order by s.opened_at, l.idx",
        )
        assert [seq for (seq,) in order] == list(range(1, 127))
        async with connect("diwan_auditor").transaction(TENANT, snapshot=True) as conn:
            assert (await verify_tree(conn, TENANT)).first_bad is None
    finally:
        for each in await _shards(connect):
            if each.name not in before:
                forget(database, each.name)


async def test_logs_stand_in_the_order_of_their_opening_though_the_clock_went_back(
    sequencer: Sequencer, write: Write, connect: Callable[[str], Database], signer: OwnSigner, database: TestDatabase
) -> None:
    with log_of_year(database, "2999"):
        await write(1, "tests/clock_back")
        await sequencer.grow_once()
        second = Sequencer(connect("diwan_sequencer"), signer, "ledger.example/after_2999")
        await write(1, "tests/clock_back")
        await second.grow_once()
        newest = (await _shards(connect))[0]
        try:
            assert newest.origin.startswith("ledger.example/after_2999/")
            await write(1, "tests/clock_back")
            with pytest.raises(NeedsPerson):
                await sequencer.grow_once()
            await second.grow_once()
        finally:
            forget(database, newest.name)


@contextmanager
def log_of_year(database: TestDatabase, year: str) -> Generator[None]:
    """A log of another year, begun an hour from now and gone afterwards."""
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute(
            "insert into ledger_shard (name, origin, root, opened_at) values (%s, %s, %s, now() + interval '1 h')",
            (year, f"{ORIGIN}/{year}", EMPTY_ROOT),
        )
    try:
        yield
    finally:
        forget(database, year)


def forget(database: TestDatabase, shard: str) -> None:
    """A log, and the entries that had their places in it."""
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "delete from entry e using ledger_leaf l where l.shard = %s "
            "and (l.tenant, l.chain, l.seq) = (e.tenant, e.chain, e.seq)",
            (shard,),
        )
        for table in ("ledger_leaf", "ledger_tile", "ledger_checkpoint"):
            connection.execute(f"delete from {table} where shard = %s".encode(), (shard,))  # noqa: S608
        connection.execute("delete from ledger_shard where name = %s", (shard,))


async def test_a_clock_that_goes_back_over_new_year_opens_no_older_log(
    sequencer: Sequencer, write: Write, connect: Callable[[str], Database], database: TestDatabase
) -> None:
    with log_of_year(database, "2999"):
        await write(2, "tests/new_year")
        await sequencer.grow_once()
        assert {shard.name: shard.size for shard in await _shards(connect)}["2999"] == 2


async def test_a_log_that_is_refused_keeps_no_other_from_being_signed(
    sequencer: Sequencer, write: Write, connect: Callable[[str], Database], database: TestDatabase
) -> None:
    with log_of_year(database, "1999"):
        await write(2, "tests/refused")
        await sequencer.grow_once()
        with pytest.raises(Refused) as error:
            await sequencer.publish_once()
        assert error.value.code == "signer.not_my_log"
        ours = next(shard for shard in await _shards(connect) if shard.name != "1999")
        async with connect("diwan_auditor").transaction(None) as conn:
            found = await published(conn, ours.name)
        assert found is not None
        assert found.size == ours.size


async def test_a_signer_that_is_away_delays_checkpoints_alone(
    sequencer: Sequencer, write: Write, signer: OwnSigner, connect: Callable[[str], Database]
) -> None:
    signer.away = Unavailable("signer.not_answering", "away")
    await write(2, "tests/away")
    assert await sequencer.grow_once() == 2
    with pytest.raises(Unavailable):
        await sequencer.publish_once()
    signer.away = None
    await sequencer.publish_once()
    (shard,) = await _shards(connect)
    async with connect("diwan_auditor").transaction(None) as conn:
        found = await published(conn)
    assert found is not None
    assert found.size == shard.size


async def test_a_database_older_than_what_was_signed_is_found_out(
    sequencer: Sequencer, write: Write, signer: OwnSigner, database: TestDatabase, connect: Callable[[str], Database]
) -> None:
    """As after an hour-old backup was restored, and after somebody rewrote the tree to be as long as before."""
    await write(5, "tests/restored")
    await sequencer.grow_once()
    await sequencer.publish_once()
    (shard,) = await _shards(connect)
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute("set session_replication_role = replica")  # whoever owns the machine
        last = connection.execute("select max(size) from ledger_checkpoint").fetchone()
        connection.execute("delete from ledger_checkpoint where size = %s", last)
        connection.execute("update ledger_shard set size = size - 5, root = sha256('other')")
        connection.commit()
    try:
        with pytest.raises(NeedsPerson) as error:
            await sequencer.publish_once()
        assert error.value.code == "ledger.went_back"
    finally:
        with psycopg.connect(database.url("postgres")) as connection:
            connection.execute("set session_replication_role = replica")
            connection.execute("update ledger_shard set size = %s, root = sha256('other')", (shard.size,))
    with pytest.raises(Conflict) as error:
        await sequencer.publish_once()
    assert error.value.code == "signer.split_view"
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update ledger_shard set root = %s", (shard.root,))
    await sequencer.publish_once()


@pytest.mark.parametrize("asked", ["keys", "last"])
async def test_a_sequencer_that_another_outran_takes_nothing_for_lost(
    sequencer: Sequencer,
    write: Write,
    signer: OwnSigner,
    connect: Callable[[str], Database],
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
) -> None:
    """The other places more and has it signed between this one's look at the tree and its question to the signer."""
    await write(2, "tests/outrun")
    await sequencer.grow_once()
    other, plain = Sequencer(connect("diwan_sequencer"), signer, ORIGIN), getattr(signer, asked)

    async def outrun(*arguments: str) -> object:
        monkeypatch.setattr(signer, asked, plain)
        before = await plain(*arguments)
        await write(2, "tests/outrun")
        await other.grow_once()
        await other.publish_once()
        return before

    monkeypatch.setattr(signer, asked, outrun)
    await sequencer.publish_once()
    await sequencer.publish_once()
    newest = max(shard.size for shard in await _shards(connect))
    assert metrics.LEDGER_SIGNED.values[(await _shards(connect))[0].name,] == newest


async def test_a_key_that_was_exchanged_signs_what_is_handed_out_at_once(
    sequencer: Sequencer, write: Write, signer: OwnSigner, connect: Callable[[str], Database], database: TestDatabase
) -> None:
    """Without growth, and by the sequencer that runs: what the old key signed alone is handed out no more. The last
    checkpoint may be of an hour ago by then."""
    await write(3, "tests/rotated")
    await sequencer.grow_once()
    await sequencer.publish_once()
    ours = next(shard for shard in await _shards(connect) if shard.origin.rpartition("/")[0] == ORIGIN)
    await sequencer.publish_once()
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("delete from ledger_checkpoint where size < %s", (ours.size,))
        connection.execute("update ledger_checkpoint set hour = hour - interval '1 hour'")
    old, new = map(parse_vkey, signer.memory.rotate(ours.origin))
    signer.away = Unavailable("signer.not_answering", "stopped, while its key is exchanged")
    await sequencer.publish_once()
    signer.away = None
    await sequencer.publish_once()

    async def handed_out() -> Note:
        async with connect("diwan_auditor").transaction(None) as conn:
            found = await published(conn, ours.name)
        assert found is not None
        return parse_note(found.note)

    note = await handed_out()
    assert Policy((old,)).checkpoint(note) == Policy((new,)).checkpoint(note) == Policy((old, new)).checkpoint(note)
    before = rows(database, "select hour, note from ledger_checkpoint order by hour")
    assert len(before) == 2
    again = Sequencer(connect("diwan_sequencer"), signer, ORIGIN)
    for each in (sequencer, again):
        await each.publish_once()
        assert rows(database, "select hour, note from ledger_checkpoint order by hour") == before
    await write(1, "tests/rotated")
    await sequencer.grow_once()
    await sequencer.publish_once()
    note = await handed_out()
    assert (note.by(old), Policy((old, new)).checkpoint(note).size) == (None, ours.size + 1)


@pytest.mark.parametrize(
    "statement",
    [
        "delete from ledger_leaf",
        "update ledger_leaf set idx = idx + 1000",
        "delete from ledger_checkpoint",
        "update ledger_checkpoint set note = ''",
        "update ledger_checkpoint set size = size - 1",
        "delete from ledger_tile",
        "update ledger_tile set hashes = sha256('x')",
        "delete from ledger_shard",
        "update ledger_shard set size = size - 1",
        "update ledger_shard set origin = 'other'",
    ],
)
async def test_the_tree_only_grows_for_its_owner_too(
    database: TestDatabase, statement: str, write: Write, sequencer: Sequencer
) -> None:
    await write(1, "tests/guard")
    await sequencer.grow_once()
    await sequencer.publish_once()
    with (
        psycopg.connect(database.url("postgres")) as connection,
        pytest.raises(psycopg.errors.IntegrityConstraintViolation),
    ):
        connection.execute(statement.encode())


async def test_the_sequencer_sees_hashes_and_nothing_that_they_are_of(database: TestDatabase, write: Write) -> None:
    await write(1, "tests/seen")
    with psycopg.connect(database.url("diwan_sequencer"), autocommit=True) as connection:
        for statement in (
            "select * from entry",
            "select * from case_file",
            "insert into ledger_pending values ('demo', 'x', 1, sha256('x'))",
            "update ledger_leaf set idx = 0",
            "delete from ledger_tile",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
