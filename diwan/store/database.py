"""Connections and transactions: one commit at the edge, the tenant set in it, nothing inside commits."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from diwan.domain.errors import Final, Unavailable
from diwan.store.connection import Connection

# A statement or a forgotten transaction never holds a case's row for long.
_SETTINGS = {
    "TimeZone": "UTC",
    "lock_timeout": "10s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
}

# A server that is cut off sends nothing, not even an end: the kernel asks after it, and gives the line up in a minute.
_SIGNS_OF_LIFE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
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
    # What was prepared is gone: it is prepared anew.
    psycopg.errors.InvalidSqlStatementName,
)


def driver_url(url: str) -> str:
    """A libpq URL (`postgresql://…`) as SQLAlchemy wants it, with psycopg 3 as driver."""
    _, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}"


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
            # The one that came back last is the warmest: its statements are prepared, its server process is in cache.
            pool_use_lifo=True,
            # `Connection` begins, commits and rolls back, and gives nothing back that is in a transaction.
            isolation_level="AUTOCOMMIT",
            pool_reset_on_return=None,
            hide_parameters=True,
            # Without it an INSERT's row count is -1, and ON CONFLICT DO NOTHING cannot be told from a row.
            execution_options={"preserve_rowcount": True},
            connect_args={"options": options, "application_name": role, "connect_timeout": 10, **_SIGNS_OF_LIFE},
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
    async def transaction(self, tenant: str | None, *, snapshot: bool = False) -> AsyncGenerator[Connection]:
        """One transaction that sees and writes the rows of `tenant` only; commits at exit.

        Each statement sees what is committed (READ COMMITTED); with `snapshot` all see the same and none may write.

        None sets no tenant: only what a role sees of all tenants is there then. Raises `Unavailable` where trying
        again may help: nothing of the transaction has happened then, but for a connection lost at commit, when
        idempotency keys tell.
        """
        try:
            connection = Connection(self._engine, await self._engine.raw_connection())
            try:
                connection.begin(tenant, snapshot=snapshot)
                yield connection
                await connection.commit()
            except BaseException:
                await connection.abandon()
                raise
        except (DBAPIError, psycopg.Error) as error:
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


def _may_pass(error: DBAPIError | psycopg.Error) -> bool:
    """What connecting raises is psycopg's own; all else is SQLAlchemy's, with psycopg's within."""
    if isinstance(error, psycopg.Error):
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return isinstance(error, _PASSING) or (lost and error.sqlstate is None)
    if isinstance(error.orig, _PASSING) or error.connection_invalidated:
        return True
    # Without a SQLSTATE nothing came from the server: the connection failed or broke.
    return isinstance(error, OperationalError | InterfaceError) and getattr(error.orig, "sqlstate", None) is None
