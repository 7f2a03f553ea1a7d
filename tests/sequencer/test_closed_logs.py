"""A log that nobody can go on with: what its signer says, and that no entry is left behind in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from diwan.domain.errors import NeedsPerson
from diwan.embedded.postgres import EmbeddedPostgres
from diwan.sequencer import Sequencer
from diwan.signer.memory import Memory
from diwan.store.database import Database
from diwan.store.ledger_tree import Shard, shards
from tests.sequencer.conftest import Write
from tests.support.databases import TestDatabase, copy_of_template, drop
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


def another_memory(signer: OwnSigner, folder: Path) -> None:
    signer.memory.close()
    signer.memory = Memory(folder, ORIGIN, lambda: datetime.now(UTC))


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
