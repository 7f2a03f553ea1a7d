"""Statements that psycopg runs itself: same transaction, same errors as SQLAlchemy's, a lost connection is no bug."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from diwan.domain.errors import Unavailable
from diwan.store.connection import Connection, Statement
from diwan.store.database import Database
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT

_COUNT = Statement("SELECT count(*) AS rows, :note::text AS note, '100%' AS percent FROM numbering")
_ADD = Statement("INSERT INTO numbering (tenant, series, last) VALUES (:tenant, :series, 1)")
_PID = Statement("SELECT pg_backend_pid() AS pid")


async def test_names_casts_and_percent_signs_are_what_they_look_like(worker: Database) -> None:
    async with worker.transaction(TENANT) as conn:
        row = await _COUNT.row(conn, {"note": "a :name %s"})
        assert row is not None
        assert (row.note, row.percent) == ("a :name %s", "100%")


async def add_twice_and_fail(web: Database, series: str) -> None:
    async with web.transaction(TENANT) as conn:
        assert await _ADD.write(conn, {"tenant": TENANT, "series": series}) == 1
        assert await seen(conn, series)
        await _ADD.write(conn, {"tenant": TENANT, "series": series})


async def seen(conn: Connection, series: str) -> bool:
    """By SQLAlchemy, on the same connection."""
    found = await conn.execute(text("SELECT 1 FROM numbering WHERE series = :series"), {"series": series})
    return found.one_or_none() is not None


async def test_it_is_part_of_the_transaction_around_it_and_its_errors_are_sqlalchemys(web: Database) -> None:
    with pytest.raises(IntegrityError) as caught:
        await add_twice_and_fail(web, "ROLLED")
    assert caught.value.params is None
    async with web.transaction(TENANT) as conn:
        assert not await seen(conn, "ROLLED")


async def test_row_security_holds_for_it(web: Database) -> None:
    async with web.transaction(TENANT) as conn:
        await _ADD.write(conn, {"tenant": TENANT, "series": "MINE"})
    async with web.transaction("another") as conn:
        row = await _COUNT.row(conn, {"note": ""})
        assert row is not None
        assert row.rows == 0


async def lose_its_connection(web: Database, database: TestDatabase) -> None:
    async with web.transaction(TENANT) as conn:
        row = await _PID.row(conn, {})
        assert row is not None
        with database.superuser() as superuser:
            superuser.execute("select pg_terminate_backend(%s, 5000)", [row.pid])
        await _COUNT.row(conn, {"note": ""})


async def test_a_connection_that_is_lost_is_tried_again_later(web: Database, database: TestDatabase) -> None:
    with pytest.raises(Unavailable):
        await lose_its_connection(web, database)
    async with web.transaction(TENANT) as conn:
        assert await _COUNT.row(conn, {"note": ""}) is not None
