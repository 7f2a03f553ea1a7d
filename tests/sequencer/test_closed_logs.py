"""A log that nobody can go on with: what its signer says, and that no entry is left behind in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from diwan import metrics
from diwan.domain.errors import DiwanError, NeedsPerson, Retry, Unavailable
from diwan.embedded.postgres import EmbeddedPostgres
from diwan.ledger.checkpoint import Checkpoint, parse_checkpoint
from diwan.ledger.entry import entry_hash
from diwan.ledger.note import new_key, parse_note, parse_vkey
from diwan.ledger.policy import Policy
from diwan.ledger.tree import check_inclusion, consistency_proof, root_at
from diwan.sequencer import Sequencer
from diwan.signer.memory import Memory
from diwan.store.database import Database
from diwan.store.entry_index import catch_up
from diwan.store.ledger_proofs import prove_entry
from diwan.store.ledger_tails import move_tail
from diwan.store.ledger_tree import Published, Shard, grow, open_shard, publish, published, shards
from diwan.store.ledger_tree_check import verify_tree
from tests.ledger.logs import MemoryLog
from tests.sequencer.conftest import Write
from tests.support.databases import TestDatabase, copy_of_template, drop
from tests.support.factories import TENANT
from tests.support.growing import ORIGIN, OwnSigner


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[TestDatabase]:
    """Of one test: what is done to a log here stays done."""
    made = copy_of_template(postgres)
    yield made
    drop(made)


def rows(database: TestDatabase, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database.url("postgres")) as connection:
        return connection.execute(query.encode()).fetchall()


async def all_shards(connect: Callable[[str], Database]) -> list[Shard]:
    async with connect("diwan_auditor").transaction(None) as conn:
        return await shards(conn)


def another_memory(signer: OwnSigner, folder: Path, origin: str = ORIGIN) -> None:
    signer.memory.close()
    signer.memory = Memory(folder, origin, lambda: datetime.now(UTC))


@pytest.mark.parametrize("lost", ["the signer's disk", "key and note"])
async def test_a_signer_that_lost_its_folder_as_a_whole_begins_nothing_over_the_old_log(
    sequencer: Sequencer,
    write: Write,
    signer: OwnSigner,
    connect: Callable[[str], Database],
    database: TestDatabase,
    tmp_path: Path,
    lost: str,
) -> None:
    """It cannot know that there was anything: what the database has of its notes says so."""
    await write(3, "tests/lost")
    await sequencer.grow_once()
    await sequencer.publish_once()
    before = rows(database, "select size, note from ledger_checkpoint")
    folder, (ours,) = signer.memory._keys.parent, await all_shards(connect)
    files = [*folder.glob("keys/*.key"), *folder.glob("signed/*.note")]
    backup = {each: each.read_bytes() for each in files}
    if lost == "key and note":
        for each in files:
            each.unlink()
    another_memory(signer, folder if lost == "key and note" else tmp_path / "anew")
    for one in (sequencer, Sequencer(connect("diwan_sequencer"), signer, ORIGIN)):
        await write(1, "tests/lost")
        await one.grow_once()
        with pytest.raises(NeedsPerson, match=f"of {ours.size} entries was signed") as error:
            await one.publish_once()
        assert error.value.code == "ledger.signer_forgot"
        assert "DIWAN_LEDGER_ORIGIN" in error.value.remedy
    assert (signer.memory.keys(), signer.memory.last(ours.origin)) == ([], None)
    assert rows(database, "select size, note from ledger_checkpoint") == before
    for each, content in backup.items():
        each.write_bytes(content)
        each.chmod(0o600)
    another_memory(signer, folder)
    await sequencer.publish_once()
    assert rows(database, "select max(size) from ledger_checkpoint") == [(ours.size + 2,)]


SECOND = "ledger.example/second"
Ends = Callable[[OwnSigner, TestDatabase, Path], None]


def remembers(signer: OwnSigner, database: TestDatabase, *, more: int, own: int) -> None:
    """The signer has signed `more` entries beyond the log's first `own`, which the database does not know."""
    (name,) = (str(row[0]) for row in rows(database, "select origin from ledger_shard"))
    headers = rows(database, "select e.header from ledger_leaf l join entry e using (tenant, chain, seq) order by idx")
    other = MemoryLog(new_key(name), [])
    other.add(*(bytes(row[0]) for row in headers[:own]), *(b"lost %d" % n for n in range(more)))  # type: ignore[arg-type]
    last, size = signer.memory.last(name), own + more
    old = 0 if last is None else parse_checkpoint(last.text).size
    node = other.node(size).node
    signer.memory.sign(Checkpoint(name, size, root_at(size, node)), consistency_proof(old, size, node))


def loses_all(signer: OwnSigner, _: TestDatabase, folder: Path) -> None:
    another_memory(signer, folder / "anew")


def loses_its_key(signer: OwnSigner, _: TestDatabase, __: Path) -> None:
    for each in signer.memory._keys.glob("*.key"):
        each.unlink()


# Why the signer signs no more of the log than the database has a checkpoint of: `signed` entries of `placed`.
WHY: dict[str, Ends] = {
    "ledger.went_back": lambda signer, database, _: remembers(signer, database, more=900, own=3),
    "proof.not_consistent": lambda signer, database, _: remembers(signer, database, more=1, own=3),
    "ledger.signer_forgot": loses_all,
    "signer.key_lost": loses_its_key,
}


def goes_on_as(second: str, signer: OwnSigner, connect: Callable[[str], Database]) -> Sequencer:
    """Signer and sequencer after DIWAN_LEDGER_ORIGIN was set anew, on the same folder and database."""
    another_memory(signer, signer.memory._keys.parent, second)
    return Sequencer(connect("diwan_sequencer"), signer, second)


async def all_is_proved(
    database: TestDatabase, connect: Callable[[str], Database], *, chains: int, kept: Sequence[Checkpoint] = ()
) -> None:
    """The tree holds, and every entry stands in a signed checkpoint."""
    async with connect("diwan_auditor").transaction(TENANT, snapshot=True) as conn:
        report = await verify_tree(conn, TENANT, kept=kept)
        assert (report.first_bad, report.waiting, report.signed) == (None, 0, report.leaves)
        for chain, seq in rows(database, "select chain, seq from entry"):
            proof = await prove_entry(conn, TENANT, str(chain), int(str(seq)))
            checkpoint = parse_checkpoint(proof.checkpoint.text)
            check_inclusion(proof.index, checkpoint.size, entry_hash(proof.extra), proof.hashes, checkpoint.root)
    assert rows(database, "select count(distinct chain) from entry") == [(chains,)]


async def placed(sequencer: Sequencer, write: Write, signed: int, more: int) -> None:
    """A log with `signed` entries under a checkpoint, and `more` behind it: as a backup is, taken under load."""
    if signed:
        await write(signed, "tests/signed")
        await sequencer.grow_once()
        await sequencer.publish_once()
    await write(more - 1, "tests/tail")
    await write(1, "tests/signed")
    await sequencer.grow_once()


async def test_an_honest_rename_has_the_old_log_signed_to_its_end(
    sequencer: Sequencer, write: Write, signer: OwnSigner, connect: Callable[[str], Database], database: TestDatabase
) -> None:
    await placed(sequencer, write, 3, 5)
    second = goes_on_as(SECOND, signer, connect)
    assert await second.grow_once() == 0
    assert rows(database, "select name, max(size) from ledger_shard group by name") == [(the_year(), 8)]
    assert rows(database, "select max(size) from ledger_checkpoint") == [(8,)], "also where nothing waits"
    await write(2, "tests/tail")
    assert await second.grow_once() == 2
    await second.publish_once()
    newest, older = await all_shards(connect)
    assert (newest.origin, newest.size, older.size) == (f"{SECOND}/{the_year()}", 2, 8)
    await all_is_proved(database, connect, chains=2)


def the_year() -> str:
    return str(datetime.now(UTC).year)


@pytest.mark.parametrize("why", WHY)
async def test_what_the_signer_signs_no_more_is_placed_anew_and_nothing_that_was_signed_moves(
    sequencer: Sequencer,
    write: Write,
    signer: OwnSigner,
    connect: Callable[[str], Database],
    database: TestDatabase,
    tmp_path: Path,
    why: str,
) -> None:
    """An old backup of the database, or a signer's folder that is gone: and then another origin, as is documented."""
    await placed(sequencer, write, 3, 5)
    await catch_up(connect("diwan_web"), TENANT)
    before = rows(database, "select idx, chain, seq, hash from ledger_leaf where idx < 3 order by idx")
    async with connect("diwan_auditor").transaction(None) as conn:
        last = await published(conn)
    assert last is not None
    WHY[why](signer, database, tmp_path)
    with pytest.raises(DiwanError):
        await sequencer.publish_once()
    second = goes_on_as(SECOND, signer, connect)
    await write(4, "tests/tail")
    metrics.LEDGER_MOVED.values.clear()
    with capture_logs() as logs:
        assert await second.grow_once() == 9
    (said,) = (each for each in logs if each["event"] == "ledger.tail_moved")
    assert {key: said[key] for key in ("shard", "size", "signed", "entries", "why")} == {
        **{"shard": the_year(), "size": 8, "signed": 3, "entries": 5, "why": why},
    }
    assert metrics.LEDGER_MOVED.values == {(the_year(),): 5}
    await second.publish_once()
    newest, older = await all_shards(connect)
    assert (newest.size, older.size, older.root) == (9, 3, last.root)
    stays = (
        "select l.idx, chain, seq, hash from ledger_leaf l join ledger_shard s on s.name = l.shard where origin = '%s'"
    )
    assert rows(database, stays % older.origin + " order by idx") == before
    await all_is_proved(database, connect, chains=2, kept=[parse_checkpoint(parse_note(last.note).text)])
    await catch_up(connect("diwan_web"), TENANT)
    found = rows(database, "select chain, seq from ledger_index order by 1, 2")
    assert found == rows(database, "select chain, seq from entry order by 1, 2"), "each once, for those who search"
    await write(1, "tests/signed")
    again = Sequencer(connect("diwan_sequencer"), signer, SECOND)
    assert await again.grow_once() == 1


@pytest.mark.parametrize(("signed", "more"), [(0, 7), (1, 300), (255, 2), (256, 1), (256, 600), (300, 250)])
async def test_a_log_becomes_what_its_last_checkpoint_covers_tile_by_tile(
    sequencer: Sequencer,
    write: Write,
    signer: OwnSigner,
    connect: Callable[[str], Database],
    database: TestDatabase,
    tmp_path: Path,
    signed: int,
    more: int,
) -> None:
    await placed(sequencer, write, signed, more)
    loses_all(signer, database, tmp_path)
    second = goes_on_as(SECOND, signer, connect)
    assert await second.grow_once() == more
    await second.publish_once()
    assert [each.size for each in await all_shards(connect)] == [more, signed]
    if not signed:
        async with connect("diwan_auditor").transaction(TENANT, snapshot=True) as conn:
            policy = Policy(tuple(map(parse_vkey, signer.memory.keys())))
            assert (await verify_tree(conn, TENANT, policy=policy)).first_bad is None
    await all_is_proved(database, connect, chains=2 if more > 1 else 1)


async def test_a_signer_that_is_away_holds_up_another_log_and_not_the_casework(
    sequencer: Sequencer, write: Write, signer: OwnSigner, connect: Callable[[str], Database], database: TestDatabase
) -> None:
    await placed(sequencer, write, 3, 5)
    second = goes_on_as(SECOND, signer, connect)
    signer.away = Unavailable("signer.not_answering", "away")
    await write(2, "tests/tail")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await second.grow_once()
    assert [each.size for each in await all_shards(connect)] == [8]
    signer.away = None
    assert await second.grow_once() == 2
    await second.publish_once()
    await all_is_proved(database, connect, chains=2)


async def test_who_dies_while_entries_move_has_moved_none(
    sequencer: Sequencer,
    write: Write,
    signer: OwnSigner,
    connect: Callable[[str], Database],
    database: TestDatabase,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    await placed(sequencer, write, 3, 5)
    loses_all(signer, database, tmp_path)
    tables = ("ledger_leaf", "ledger_pending", "ledger_tile", "ledger_shard")
    before = [rows(database, f"select * from {table} t order by t::text") for table in tables]  # noqa: S608

    async def died(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    second = goes_on_as(SECOND, signer, connect)
    with monkeypatch.context() as broken:
        broken.setattr("diwan.sequencer.grow", died)
        with pytest.raises(KeyboardInterrupt):
            await second.grow_once()
    assert [rows(database, f"select * from {table} t order by t::text") for table in tables] == before  # noqa: S608
    assert await second.grow_once() == 5
    await second.publish_once()
    await all_is_proved(database, connect, chains=2)


async def test_a_log_that_another_sequencer_still_has_signed_is_not_left(
    sequencer: Sequencer, write: Write, signer: OwnSigner, connect: Callable[[str], Database], database: TestDatabase
) -> None:
    """The one of before was not stopped: it grows its log after this one has looked."""
    await placed(sequencer, write, 3, 5)
    second = goes_on_as(SECOND, signer, connect)
    looked = second._have_others_signed

    async def outrun() -> dict[str, str]:
        found = await looked()
        await sequencer.grow_once()
        await write(1, "tests/tail")
        return found

    second._have_others_signed = outrun  # type: ignore[method-assign]
    await write(1, "tests/tail")
    with pytest.raises(Unavailable) as error:
        await second.grow_once()
    assert error.value.code == "ledger.still_grows"
    second._have_others_signed = looked  # type: ignore[method-assign]
    assert await second.grow_once() == 1
    await second.publish_once()
    await all_is_proved(database, connect, chains=2)


async def test_a_checkpoint_that_comes_while_entries_move_is_kept_first_or_not_at_all(
    sequencer: Sequencer,
    write: Write,
    signer: OwnSigner,
    connect: Callable[[str], Database],
    database: TestDatabase,
    tmp_path: Path,
) -> None:
    """Of another signer than this one's, which signed to the end."""
    await placed(sequencer, write, 3, 5)
    (older,) = await all_shards(connect)
    whole = Published(older.name, older.size, older.root, b"a note")
    db = connect("diwan_sequencer")
    async with db.transaction(None) as conn:
        await open_shard(conn, SECOND)
        async with db.transaction(None) as other:
            await publish(other, whole)
            moving = asyncio.create_task(move_tail(conn, older.name))
            await database.until_someone_waits()
        assert await moving == 0
    loses_all(signer, database, tmp_path)
    await write(3, "tests/tail")
    second, third = (goes_on_as(origin, signer, connect) for origin in (SECOND, "ledger.example/third"))
    assert await third.grow_once() == 3
    with pytest.raises(NeedsPerson) as error:
        async with db.transaction(None) as conn:
            await publish(conn, Published(older.name, older.size + 1, older.root, b"a note of more"))
    assert error.value.code == "ledger.went_back"
    await write(1, "tests/tail")
    with pytest.raises(NeedsPerson):
        await second.grow_once()


MOVES = [
    "select diwan_move_tail('{log}')",
    "delete from ledger_leaf where shard = '{log}' and idx = 2",
    "delete from ledger_leaf where shard = '{log}' and idx >= 2",
    "delete from ledger_tile where shard = '{log}'",
    "update ledger_tile set hashes = substr(hashes, 1, 64) where shard = '{log}'",
    "update ledger_shard set size = 2 where name = '{log}'",
    "update ledger_shard set root = sha256('x') where name = '{log}'",
]


@pytest.mark.parametrize("left", [False, True], ids=["a log that grows", "a log that was left"])
async def test_nothing_that_a_checkpoint_covers_moves_for_its_owner_either(
    sequencer: Sequencer,
    write: Write,
    signer: OwnSigner,
    connect: Callable[[str], Database],
    database: TestDatabase,
    left: bool,
) -> None:
    await placed(sequencer, write, 3, 5)
    if left:
        async with connect("diwan_sequencer").transaction(None) as conn:
            await open_shard(conn, SECOND)
    for role in ("postgres", "diwan_owner"):
        for statement in MOVES[left:]:
            with psycopg.connect(database.url(role)) as connection:
                connection.execute("select set_config('diwan.moves_tail', 'yes', true)")
                with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
                    connection.execute(statement.replace("{log}", the_year()).encode())


async def test_nobody_is_told_to_try_again_for_what_no_checkpoint_will_have(
    sequencer: Sequencer,
    write: Write,
    signer: OwnSigner,
    connect: Callable[[str], Database],
    database: TestDatabase,
    tmp_path: Path,
) -> None:
    """A later entry of the chain has its place in another log, as after a version that left the tail behind: placed
    anew it would stand behind that one, so it stays, and that is said."""
    await placed(sequencer, write, 3, 5)
    async with connect("diwan_auditor").transaction(TENANT) as conn:
        with pytest.raises(Retry) as error:
            await prove_entry(conn, TENANT, "tests/tail", 1)
        assert error.value.code == "ledger.not_yet"
    await write(1, "tests/tail")
    loses_all(signer, database, tmp_path)
    async with connect("diwan_sequencer").transaction(None) as conn:
        await grow(conn, await open_shard(conn, SECOND), at_most=100)
    second = goes_on_as(SECOND, signer, connect)
    await write(1, "tests/tail")
    with capture_logs() as logs:
        assert await second.grow_once() == 1
    assert [each["entries"] if "entries" in each else each["size"] for each in logs if "tail" in each["event"]] == [8]
    await second.publish_once()
    async with connect("diwan_auditor").transaction(TENANT, snapshot=True) as conn:
        assert (await verify_tree(conn, TENANT)).first_bad is None
        await prove_entry(conn, TENANT, "tests/tail", 5)
        with pytest.raises(NeedsPerson) as lost:
            await prove_entry(conn, TENANT, "tests/tail", 1)
    assert lost.value.code == "ledger.log_left"
