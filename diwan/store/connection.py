"""One transaction's connection: what every step does goes as messages of our own (`Statement`), the rest by SQLAlchemy.

A transaction that runs `Statement`s only never meets SQLAlchemy but for its pool: what SQLAlchemy does around one
costs more than several statements (docs/adr/0017-statements-of-a-step.md).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any, cast

import psycopg
from psycopg import sql
from sqlalchemy import CursorResult, Executable
from sqlalchemy.engine import Connection as SyncConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection

from diwan.domain.errors import DiwanError, Final
from diwan.store.exchange import Answer, Command, CommandFailed, Line

Refusal = Callable[[], DiwanError]

# How a statement that is owed asks whether it wrote its row: `FROM` follows, with what it wrote.
ONE_ROW = "SELECT 1 / count(*)"
_REFUSED = (psycopg.errors.DivisionByZero, psycopg.errors.UniqueViolation)

_COMMIT, _ROLLBACK = Command(b"COMMIT"), Command(b"ROLLBACK")


class Connection:
    """A pooled connection for the length of one transaction, which `Database.transaction` begins and ends.

    `case` is the one case that the transaction changes (tenant, id), once it has locked one.
    """

    def __init__(self, engine: AsyncEngine, pooled: PoolProxiedConnection) -> None:
        self.case: tuple[str, str] | None = None
        self._engine = engine
        self._pooled = pooled
        self._driver = cast("psycopg.AsyncConnection[Any]", pooled.driver_connection)
        # `info` lives as long as the connection to the server, and so does what is prepared there.
        line = pooled.info.get("diwan.line")
        self._line: Line = line or pooled.info.setdefault("diwan.line", Line(self._driver))
        self._before: list[Command] = []
        self._owed: list[tuple[Command, Refusal]] = []
        self._ahead: list[Command] = []
        self._answered: dict[Command, Answer] = {}
        self._sqlalchemy: AsyncConnection | None = None

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[*tuple[Any, ...]]:
        """By SQLAlchemy, as its own connections do."""
        if self._before or self._owed:
            await self._exchange([])
        return await self._by_sqlalchemy().execute(statement, parameters)

    async def run(self, command: Command) -> Answer:
        """Raises `DBAPIError`, as `execute` does."""
        if command in self._ahead:
            await self._exchange([])
        answered = self._answered.pop(command, None)
        if answered is not None:
            return answered
        return (await self._exchange([command]))[0]

    def ask_ahead(self, command: Command) -> None:
        """Sends `command` after what is in the next message; whoever runs it has its answer then."""
        self._ahead.append(command)

    def owe(self, command: Command, refusal: Refusal) -> None:
        """Sends a writing `command` before whatever is sent next, at the latest with the COMMIT.

        Nobody sees its answer before that, so it must fail by itself where it does not do what it should: by a row that
        is there already or by `ONE_ROW`. `refusal` is raised then, by whatever sends it, and nothing is committed.
        """
        self._owed.append((command, refusal))

    def begin(self, tenant: str | None, *, snapshot: bool) -> None:
        """The transaction begins, and has its tenant, with the first message that is sent in it."""
        self._before = list(_opening(tenant, snapshot))

    async def commit(self) -> None:
        """Commits, and gives the connection back. Raises `Final` where a statement had failed, and that was ignored."""
        if not self._before or self._owed:
            (answer,) = await self._exchange([_COMMIT])
            if answer.done != b"COMMIT":
                raise Final("database.not_committed", "A statement failed, so nothing was committed.")
        # Committed: nothing is to be reset, so nothing is to be waited for.
        self._pooled.close()

    async def abandon(self) -> None:
        """Rolls back and gives the connection back; away with one that cannot even do that. Never raises."""
        await asyncio.shield(asyncio.ensure_future(self._roll_back()))

    async def _roll_back(self) -> None:
        try:
            # Not psycopg's own, which makes the server forget what is prepared.
            if not self._before:
                await self._line.exchange([_ROLLBACK])
        except (psycopg.Error, CommandFailed):
            await self._by_sqlalchemy().invalidate()
        self._pooled.close()

    async def _exchange(self, commands: list[Command]) -> list[Answer]:
        """One message: what opens the transaction, what is owed, `commands`, what is asked ahead."""
        before, owed, ahead = self._before, self._owed, self._ahead
        self._before, self._owed, self._ahead = [], [], []
        first = len(before) + len(owed)
        try:
            answers = await self._line.exchange([*before, *(command for command, _ in owed), *commands, *ahead])
        except CommandFailed as failed:
            if len(before) <= failed.at < first and isinstance(failed.error, _REFUSED):
                raise owed[failed.at - len(before)][1]() from failed.error
            raise self._as_sqlalchemy(failed.error) from failed.error
        except psycopg.Error as error:
            raise self._as_sqlalchemy(error) from error
        answers = answers[first:]
        self._answered |= zip(ahead, answers[len(commands) :], strict=True)
        return answers[: len(commands)]

    def _as_sqlalchemy(self, error: psycopg.Error) -> BaseException:
        """As SQLAlchemy raises it, so that callers need not know who ran a statement."""
        return DBAPIError.instance(
            *("", None, error, psycopg.Error), hide_parameters=True, connection_invalidated=self._driver.closed
        )

    def _by_sqlalchemy(self) -> AsyncConnection:
        if self._sqlalchemy is None:
            self._sqlalchemy = AsyncConnection(self._engine, SyncConnection(self._engine.sync_engine, self._pooled))
        return self._sqlalchemy


@lru_cache(maxsize=1024)
def _opening(tenant: str | None, snapshot: bool) -> tuple[Command, ...]:
    begin = Command(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if snapshot else b"BEGIN")
    if tenant is None:
        return (begin,)
    return begin, Command(sql.SQL("SET LOCAL diwan.tenant = {}").format(sql.Literal(tenant)).as_bytes())


class Statement:
    """SQL with `:names`, sent by ourselves in the transaction of a connection of ours.

    For what every step of every agent does: SQLAlchemy's way to psycopg costs several times what the statement does
    (docs/adr/0017-statements-of-a-step.md). Values are bound; it is prepared once on each connection.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._names = tuple(dict.fromkeys(_NAME.findall(text)))
        numbers = {name: f"${number}" for number, name in enumerate(self._names, 1)}
        self._query = _NAME.sub(lambda found: numbers[found[1]], text).encode()
        self._values = _values_of(self._names)

    def command(self, parameters: Mapping[str, object]) -> Command:
        """What `rows`, `row` and `write` send."""
        return Command(self._query, self._values(parameters))

    async def rows(self, conn: Connection, parameters: Mapping[str, object]) -> list[Any]:
        """The rows, as named tuples."""
        return (await conn.run(self.command(parameters))).rows

    async def row(self, conn: Connection, parameters: Mapping[str, object]) -> Any | None:
        """The first row, as a named tuple; None where there is none."""
        return next(iter(await self.rows(conn, parameters)), None)

    async def write(self, conn: Connection, parameters: Mapping[str, object]) -> int:
        """How many rows it wrote: to be looked at by whoever calls it."""
        return (await conn.run(self.command(parameters))).count

    def owed(self, conn: Connection, parameters: Mapping[str, object], *, otherwise: Refusal) -> None:
        """As `Connection.owe`."""
        conn.owe(self.command(parameters), otherwise)


def _values_of(names: tuple[str, ...]) -> Callable[[Mapping[str, object]], tuple[object, ...]]:
    """Those of `names`, in order: by one call where there are several."""
    if len(names) > 1:
        return cast("Callable[[Mapping[str, object]], tuple[object, ...]]", itemgetter(*names))
    return lambda parameters: tuple(parameters[name] for name in names)


# `::` is a cast.
_NAME = re.compile(r"(?<![:\w]):([a-z_]\w*)")
