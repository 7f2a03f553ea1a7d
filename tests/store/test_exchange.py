"""Messages of several commands: all answers, the first error, and no connection left in the middle of one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, ProgrammingError

from diwan.domain.errors import Conflict, Final, NotFound, Unavailable
from diwan.store.connection import ONE_ROW, Connection, Statement
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


_RAISE = Statement(
    "WITH raised AS (UPDATE numbering SET last = :last WHERE tenant = :tenant AND series = :series RETURNING 1)"  # noqa: S608
    f" {ONE_ROW} FROM raised"
)
_NUMBERS = Statement(
    "SELECT split_part(series, '/', 2) AS series, last FROM numbering "
    "WHERE tenant = :tenant AND series LIKE :mine || '/%' ORDER BY series"
)


def there() -> Conflict:
    return Conflict("series.there", "It is there already.")


def missing() -> NotFound:
    return NotFound("series.missing", "It is not there.")


@pytest.fixture
def mine() -> str:
    """What the series of a test begin with."""
    return str(uuid.uuid4())


def owe(conn: Connection, mine: str, series: str, *, last: int | None = None, tenant: str = TENANT) -> None:
    """A new series, and another last number for it."""
    _ADD.owed(conn, {"tenant": tenant, "series": f"{mine}/{series}"}, otherwise=there)
    if last is not None:
        owe_last(conn, mine, series, last)


def owe_last(conn: Connection, mine: str, series: str, last: int) -> None:
    _RAISE.owed(conn, {"tenant": TENANT, "series": f"{mine}/{series}", "last": last}, otherwise=missing)


async def numbers_in(conn: Connection, mine: str) -> list[tuple[str, int]]:
    return [tuple(row) for row in await _NUMBERS.rows(conn, {"tenant": TENANT, "mine": mine})]


async def numbers(db: Database, mine: str) -> list[tuple[str, int]]:
    async with db.transaction(TENANT) as conn:
        return await numbers_in(conn, mine)


async def test_what_is_owed_is_sent_with_the_commit(
    single: Database, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[bytes]] = []
    async with single.transaction(TENANT) as conn:
        exchange = conn._line.exchange  # pyright: ignore[reportPrivateUsage]

        async def noted(commands: list[Command]) -> object:
            sent.append([command.query.split()[0] for command in commands])
            return await exchange(commands)

        monkeypatch.setattr(conn._line, "exchange", noted)  # pyright: ignore[reportPrivateUsage]
        owe(conn, mine, "A", last=7)
    assert sent == [[b"BEGIN", b"SET", b"INSERT", b"WITH", b"COMMIT"]]
    assert await numbers(single, mine) == [("A", 7)]


async def test_what_is_owed_comes_before_the_next_statement_whoever_runs_it(single: Database, mine: str) -> None:
    async with single.transaction(TENANT) as conn:
        owe(conn, mine, "A")
        assert await numbers_in(conn, mine) == [("A", 1)]
        owe(conn, mine, "B")
        found = await conn.execute(text("SELECT count(*) FROM numbering WHERE series LIKE :mine"), {"mine": f"{mine}%"})
        assert found.scalar_one() == 2
    assert await numbers(single, mine) == [("A", 1), ("B", 1)]


async def owe_a_row_that_is_there(db: Database, mine: str) -> None:
    async with db.transaction(TENANT) as conn:
        owe(conn, mine, "NEW")
        owe(conn, mine, "THERE")


async def owe_a_change_of_nothing(db: Database, mine: str) -> None:
    async with db.transaction(TENANT) as conn:
        owe(conn, mine, "NEW")
        owe_last(conn, mine, "NOWHERE", 1)
        await pid(conn)


async def owe_a_row_of_another(db: Database, mine: str) -> None:
    async with db.transaction(TENANT) as conn:
        owe(conn, mine, "NEW")
        owe(conn, mine, "THEIRS", tenant="another")


async def test_what_is_owed_and_refused_says_so_and_nothing_is_committed(single: Database, mine: str) -> None:
    async with single.transaction(TENANT) as conn:
        owe(conn, mine, "THERE")
    with pytest.raises(Conflict, match="there already"):
        await owe_a_row_that_is_there(single, mine)
    with pytest.raises(NotFound, match="not there"):
        await owe_a_change_of_nothing(single, mine)
    with pytest.raises(ProgrammingError, match="row-level security"):
        await owe_a_row_of_another(single, mine)
    assert await numbers(single, mine) == [("THERE", 1)]


async def ignore_an_error(db: Database, mine: str) -> None:
    async with db.transaction(TENANT) as conn:
        owe(conn, mine, "NEW")
        with pytest.raises(DataError):
            await conn.run(Command(b"SELECT 1 / $1::int AS broken", (0,)))


async def test_a_commit_that_committed_nothing_is_an_error(single: Database, mine: str) -> None:
    with pytest.raises(Final, match="nothing was committed"):
        await ignore_an_error(single, mine)
    assert await numbers(single, mine) == []
