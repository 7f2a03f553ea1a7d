"""Connections and transactions: one commit at the edge, the tenant set in it, nothing inside commits."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from diwan.domain.errors import Final, Unavailable

# A statement or a forgotten transaction never holds a case's row for long.
_SETTINGS = {
    "TimeZone": "UTC",
    "lock_timeout": "10s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
}

# What a second try may cure: the server went away, shut down, or chose us as a deadlock's victim.
_PASSING = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.QueryCanceled,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.CannotConnectNow,
    psycopg.errors.TooManyConnections,
    # A full disk, and whatever else runs out, is there again when somebody has made room.
    psycopg.errors.DiskFull,
    psycopg.errors.OutOfMemory,
    psycopg.errors.InsufficientResources,
    psycopg.errors.IoError,
)


def driver_url(url: str) -> str:
    """A libpq URL (`postgresql://…`) as SQLAlchemy wants it, with psycopg 3 as driver."""
    _, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}"


class Statement:
    """SQL with `:names`, run by psycopg itself in the transaction of a connection of ours.

    For what every step of every agent does: SQLAlchemy's way to psycopg costs several times what the statement does
    (docs/adr/0017-statements-of-a-step.md). Values are bound, binary both ways; psycopg prepares what comes often.
    """

    def __init__(self, sql: str) -> None:
        self._query = _NAME.sub(r"%(\1)s", sql.replace("%", "%%")).encode()

    async def rows(self, conn: AsyncConnection, parameters: Mapping[str, object]) -> list[Any]:
        """The rows, as named tuples."""
        return await (await self._run(conn, parameters)).fetchall()

    async def row(self, conn: AsyncConnection, parameters: Mapping[str, object]) -> Any | None:
        """The first row, as a named tuple; None where there is none."""
        return await (await self._run(conn, parameters)).fetchone()

    async def write(self, conn: AsyncConnection, parameters: Mapping[str, object]) -> int:
        """How many rows it wrote: to be looked at by whoever calls it."""
        return (await self._run(conn, parameters)).rowcount

    async def _run(self, conn: AsyncConnection, parameters: Mapping[str, object]) -> psycopg.AsyncCursor[Any]:
        driver = _driver(conn)
        try:
            cursor = driver.cursor(binary=True, row_factory=namedtuple_row)
            return await cursor.execute(self._query, parameters)
        except psycopg.Error as error:
            # As SQLAlchemy raises it, so that callers need not know who ran the statement.
            raised = DBAPIError.instance(
                *(self._query.decode(), None, error, psycopg.Error),
                hide_parameters=True,
                connection_invalidated=driver.closed,
            )
            raise raised from error


# `::` is a cast.
_NAME = re.compile(r"(?<![:\w]):([a-z_]\w*)")
_SET_TENANT = Statement("SELECT set_config('diwan.tenant', :tenant, true)")


def _driver(conn: AsyncConnection) -> psycopg.AsyncConnection[Any]:
    below = conn.sync_connection
    driver: Any = below.connection.driver_connection if below is not None else None
    assert isinstance(driver, psycopg.AsyncConnection)
    return cast("psycopg.AsyncConnection[Any]", driver)


class Database:
    """A pool of connections of one role. `transaction` is the only way to the tables."""

    def __init__(self, engine: AsyncEngine, role: str) -> None:
        self._engine = engine
        self.role = role

    @classmethod
    def connect(cls, url: str, *, role: str, pool_size: int = 8) -> Database:
        """A pool for `url` (libpq URL) whose user must be `role`; connects when first used.

        A connection whose user is another, or skips row security, is refused (`Final`).
        """
        options = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        engine = create_async_engine(
            driver_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=30,
            hide_parameters=True,
            # Without it an INSERT's row count is -1, and ON CONFLICT DO NOTHING cannot be told from a row.
            execution_options={"preserve_rowcount": True},
            connect_args={"options": options, "application_name": role, "connect_timeout": 10},
        )

        @event.listens_for(engine.sync_engine, "connect")
        def demand_role(connection: Any, _record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
            cursor = connection.cursor()
            cursor.execute("select rolname, rolsuper or rolbypassrls from pg_roles where rolname = current_user")
            user, skips = cursor.fetchone()
            cursor.close()
            connection.rollback()
            if user != role or skips:
                raise Final(
                    "database.wrong_role",
                    f"This process must connect as {role}, a role that row security holds for.",
                    "Give it the URL of its own role.",
                )

        return cls(engine, role)

    @asynccontextmanager
    async def transaction(self, tenant: str | None, *, snapshot: bool = False) -> AsyncGenerator[AsyncConnection]:
        """One transaction that sees and writes the rows of `tenant` only; commits at exit.

        Each statement sees what is committed (READ COMMITTED); with `snapshot` all see the same and none may write.

        None sets no tenant: only what a role sees of all tenants is there then. Raises `Unavailable` where trying
        again may help: nothing of the transaction has happened then, but for a connection lost at commit, when
        idempotency keys tell.
        """
        try:
            async with self._engine.connect() as connection, _begun(connection, snapshot):
                if tenant is not None:
                    await _SET_TENANT.row(connection, {"tenant": tenant})
                yield connection
        except DBAPIError as error:
            if _may_pass(error):
                raise Unavailable(
                    "database.unavailable", "The database could not do this now.", "Try again."
                ) from error
            raise
        except PoolTimeout as error:
            raise Unavailable("database.busy", "No database connection was free in time.", "Try again.") from error

    async def dispose(self) -> None:
        """Closes all connections."""
        await self._engine.dispose()


@asynccontextmanager
async def _begun(connection: AsyncConnection, snapshot: bool) -> AsyncGenerator[None]:
    if snapshot:
        await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    async with connection.begin():
        yield


def _may_pass(error: DBAPIError) -> bool:
    if isinstance(error.orig, _PASSING) or error.connection_invalidated:
        return True
    # Without a SQLSTATE nothing came from the server: the connection failed or broke.
    return isinstance(error, OperationalError | InterfaceError) and getattr(error.orig, "sqlstate", None) is None
