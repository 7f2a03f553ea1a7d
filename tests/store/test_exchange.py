"""Messages of several commands: all answers, the first error, and no connection left in the middle of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from sqlalchemy.exc import DataError, ProgrammingError

from diwan.domain.errors import Unavailable
from diwan.store.connection import Connection, Statement
from diwan.store.database import Database
from diwan.store.exchange import Command
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT

_SAY = Statement("SELECT :what::text AS said, octet_length(:bytes) AS long, :number::bigint AS number")
_PID = Statement("SELECT pg_backend_pid() AS pid, current_setting('diwan.tenant', true) AS tenant")
_ADD = Statement("INSERT INTO numbering (tenant, series, last) VALUES (:tenant, :series, 1)")


@pytest.fixture
async def single(database: TestDatabase) -> AsyncGenerator[Database]:
    """A pool of one connection, so that it is known which one is used."""
    made = Database.connect(database.url("diwan_web"), role="diwan_web", pool_size=1)
    yield made
    await made.dispose()


async def pid(conn: Connection) -> int:
    row = await _PID.row(conn, {})
    assert row is not None
    assert row.tenant == TENANT
    return int(row.pid)


async def test_values_of_any_size_and_sign_come_back(worker: Database) -> None:
    """Larger than any buffer between us: writing waits, and reads while it does."""
    async with worker.transaction(TENANT) as conn:
        for number in (0, -1, 40_000, 3_000_000_000, -(2**62)):
            row = await _SAY.row(
                conn, {"what": None if number == 0 else "ملف", "bytes": b"x" * 9_000_000, "number": number}
            )
            assert row is not None
            assert (row.said, row.long, row.number) == (None if number == 0 else "ملف", 9_000_000, number)


async def test_what_is_asked_ahead_is_answered_with_the_next_message(
    worker: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker.transaction(TENANT) as conn:
        sent: list[int] = []
        exchange = conn._line.exchange  # pyright: ignore[reportPrivateUsage]

        async def counted(commands: list[Command]) -> object:
            sent.append(len(commands))
            return await exchange(commands)

        monkeypatch.setattr(conn._line, "exchange", counted)  # pyright: ignore[reportPrivateUsage]
        wanted = {"what": "ahead", "bytes": b"", "number": 1}
        conn.ask_ahead(_SAY.command(wanted))
        await pid(conn)
        row = await _SAY.row(conn, wanted)
        assert row is not None
        assert row.said == "ahead"
        assert sent == [4]  # BEGIN, the tenant, what was run, what was asked ahead
        assert await _SAY.row(conn, wanted) is not None
        assert sent == [4, 1], "an answer is used once"


async def fail_in_the_middle(web: Database) -> None:
    async with web.transaction(TENANT) as conn:
        await _ADD.write(conn, {"tenant": TENANT, "series": "BEFORE"})
        conn.ask_ahead(_SAY.command({"what": "never", "bytes": b"", "number": 1}))
        await conn.run(Command(b"SELECT 1 / $1::int AS broken", (0,)))


async def test_an_error_ends_the_transaction_and_not_the_connection(single: Database) -> None:
    async with single.transaction(TENANT) as conn:
        before = await pid(conn)
    with pytest.raises(DataError) as caught:
        await fail_in_the_middle(single)
    assert caught.value.params is None
    async with single.transaction(TENANT) as conn:
        assert await pid(conn) == before
        found = await conn.run(Command(b"SELECT 1 FROM numbering WHERE series = $1", ("BEFORE",)))
        assert found.count == 0


async def wait_long(db: Database) -> None:
    async with db.transaction(TENANT) as conn:
        await conn.run(Command(b"SELECT pg_sleep(20)"))


async def test_cancelled_in_the_middle_a_connection_is_not_used_again(single: Database) -> None:
    async with single.transaction(TENANT) as conn:
        before = await pid(conn)
    waiting = asyncio.create_task(wait_long(single))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting, 0.2)
    async with single.transaction(TENANT) as conn:
        assert await pid(conn) != before


async def test_what_the_server_has_forgotten_is_prepared_anew(single: Database) -> None:
    async with single.transaction(TENANT) as conn:
        await pid(conn)
        await _SAY.row(conn, {"what": "", "bytes": b"", "number": 1})
        await conn.run(Command(b"DEALLOCATE ALL"))
    with pytest.raises(Unavailable):
        await say(single)
    await say(single)


async def say(db: Database) -> None:
    async with db.transaction(TENANT) as conn:
        await _SAY.row(conn, {"what": "", "bytes": b"", "number": 1})


async def test_a_statement_that_is_wrong_stays_wrong(single: Database) -> None:
    for _ in range(2):
        with pytest.raises(ProgrammingError):
            await misspell(single)


async def misspell(db: Database) -> None:
    async with db.transaction(TENANT) as conn:
        await conn.run(Command(b"SELECT nothing FROM nowhere WHERE id = $1", (1,)))
