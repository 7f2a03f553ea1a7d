"""One transaction's connection: psycopg runs what every step does (`Statement`), SQLAlchemy the rest, on the same one.

A transaction that runs `Statement`s only never meets SQLAlchemy but for its pool: what SQLAlchemy does around one
costs more than several statements (docs/adr/0017-statements-of-a-step.md).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row
from sqlalchemy import CursorResult, Executable
from sqlalchemy.engine import Connection as SyncConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection


class Connection:
    """A pooled connection for the length of one transaction, which `Database.transaction` begins and ends.

    `case` is the one case that the transaction changes (tenant, id), once it has locked one.
    """

    def __init__(self, engine: AsyncEngine, pooled: PoolProxiedConnection) -> None:
        self.case: tuple[str, str] | None = None
        self._engine = engine
        self._pooled = pooled
        self._driver = cast("psycopg.AsyncConnection[Any]", pooled.driver_connection)
        self._cursor = self._driver.cursor(binary=True, row_factory=namedtuple_row)
        self._sqlalchemy: AsyncConnection | None = None

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[*tuple[Any, ...]]:
        """By SQLAlchemy, as its own connections do."""
        return await self._by_sqlalchemy().execute(statement, parameters)

    async def run(self, query: bytes, parameters: Mapping[str, object]) -> psycopg.AsyncCursor[Any]:
        """By psycopg; its cursor holds the rows until the next `run`. Raises `DBAPIError`, as `execute` does."""
        try:
            return await self._cursor.execute(query, parameters)
        except psycopg.Error as error:
            raise self._raised(error, query) from error

    async def begin(self, tenant: str | None, *, snapshot: bool) -> None:
        """Begins the transaction and names its tenant, in one message."""
        await self._say(_opening(tenant, snapshot))

    async def commit(self) -> None:
        """Commits, and gives the connection back."""
        await self._say(b"COMMIT")
        # Committed: nothing is to be reset, so nothing is to be waited for.
        self._pooled.close()

    async def abandon(self) -> None:
        """Rolls back and gives the connection back; away with one that cannot even do that. Never raises."""
        await asyncio.shield(asyncio.ensure_future(self._roll_back()))

    async def _roll_back(self) -> None:
        try:
            await self._driver.rollback()
        except psycopg.Error:
            await self._by_sqlalchemy().invalidate()
        self._pooled.close()

    async def _say(self, query: bytes) -> None:
        try:
            await self._cursor.execute(query, prepare=False, binary=False)
        except psycopg.Error as error:
            raise self._raised(error, query) from error

    def _by_sqlalchemy(self) -> AsyncConnection:
        if self._sqlalchemy is None:
            self._sqlalchemy = AsyncConnection(self._engine, SyncConnection(self._engine.sync_engine, self._pooled))
        return self._sqlalchemy

    def _raised(self, error: psycopg.Error, query: bytes) -> Exception:
        """As SQLAlchemy raises it, so that callers need not know who ran a statement."""
        return DBAPIError.instance(
            *(query.decode(), None, error, psycopg.Error),
            hide_parameters=True,
            connection_invalidated=self._driver.closed,
        )


@lru_cache(maxsize=1024)
def _opening(tenant: str | None, snapshot: bool) -> bytes:
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if snapshot else "BEGIN"
    if tenant is None:
        return begin.encode()
    return sql.SQL(begin + "; SET LOCAL diwan.tenant = {}").format(sql.Literal(tenant)).as_bytes()


class Statement:
    """SQL with `:names`, run by psycopg itself in the transaction of a connection of ours.

    For what every step of every agent does: SQLAlchemy's way to psycopg costs several times what the statement does
    (docs/adr/0017-statements-of-a-step.md). Values are bound, binary both ways; psycopg prepares what comes often.
    """

    def __init__(self, sql_text: str) -> None:
        self._query = _NAME.sub(r"%(\1)s", sql_text.replace("%", "%%")).encode()

    async def rows(self, conn: Connection, parameters: Mapping[str, object]) -> list[Any]:
        """The rows, as named tuples."""
        return await (await conn.run(self._query, parameters)).fetchall()

    async def row(self, conn: Connection, parameters: Mapping[str, object]) -> Any | None:
        """The first row, as a named tuple; None where there is none."""
        return await (await conn.run(self._query, parameters)).fetchone()

    async def write(self, conn: Connection, parameters: Mapping[str, object]) -> int:
        """How many rows it wrote: to be looked at by whoever calls it."""
        return (await conn.run(self._query, parameters)).rowcount


# `::` is a cast.
_NAME = re.compile(r"(?<![:\w]):([a-z_]\w*)")
