"""Messages to Postgres: several commands in one, their answers in one, by libpq's pipeline mode.

psycopg's cursors cost twice what the exchange itself does, and psycopg's own pipeline gains nothing on them. libpq, and
what turns values into its bytes and back, are psycopg's (`psycopg.pq`, `Transformer`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import errors, pq
from psycopg.adapt import PyFormat, Transformer


@dataclass(frozen=True, slots=True)
class Command:
    """SQL with `$1`, `$2`, … and their values. Without values it is sent as it is, else prepared once a connection."""

    query: bytes
    values: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """`rows` are named tuples; `count` is how many rows were read or written; `done` is what the server says it did."""

    rows: list[Any]
    count: int
    done: bytes = b""


class CommandFailed(Exception):
    """The server refused the command at position `at` of a message, and did nothing of what came after it.

    `error` is psycopg's.
    """

    def __init__(self, at: int, error: psycopg.Error) -> None:
        super().__init__(f"command {at} failed")
        self.at = at
        self.error = error


# uvloop (0.23, by libuv's uv_poll) tells nobody of a socket that was reset, as is that of a server process that was
# killed: whoever waits would wait for ever. So it is looked at by the clock too, which costs one that is well nothing.
_LOOK_EVERY_S = 0.5
# Nothing of an answer in so long: the server is cut off, for it ends each statement by itself sooner (database.py).
_SILENT_S = 45.0

_Key = tuple[bytes, tuple[int, ...]]  # the SQL, and the types (oids) of its values


@dataclass(frozen=True, slots=True)
class _Prepared:
    key: _Key
    name: bytes


class Line:
    """To one server process, for as long as the connection to it lasts. One exchange at a time."""

    def __init__(self, driver: psycopg.AsyncConnection[Any]) -> None:
        self._pg = driver.pgconn
        self._transformer = Transformer(driver)
        self._prepared: dict[_Key, bytes] = {}
        self._numbers = itertools.count(1)

    async def exchange(self, commands: Sequence[Command]) -> list[Answer]:
        """The answers, in order. Raises `CommandFailed` once all is read, and psycopg's error for a line that is lost.

        Cancelled in the middle of one the connection is closed: nobody would know whose the next answer is.
        """
        pg = self._pg
        # A statement that is prepared has an answer of its own before the one that is asked for (None).
        awaited: list[_Prepared | None] = []
        try:
            pg.enter_pipeline_mode()
            for command in commands:
                awaited += self._send(command, awaited)
            pg.pipeline_sync()
            results = await self._results()
            pg.exit_pipeline_mode()
        except BaseException:
            pg.finish()
            raise
        pairs = list(zip(results, awaited, strict=True))
        for result, prepared in pairs:
            if prepared is not None and result.status == pq.ExecStatus.COMMAND_OK:
                self._prepared[prepared.key] = prepared.name
        failed = next((n for n, result in enumerate(results) if result.status == pq.ExecStatus.FATAL_ERROR), None)
        if failed is not None:
            self._forget_if_lost(results[failed])
            raise CommandFailed(awaited[:failed].count(None), errors.error_from_result(results[failed]))
        return [self._answer(result) for result, prepared in pairs if prepared is None]

    def _send(self, command: Command, awaited: Sequence[_Prepared | None]) -> list[_Prepared | None]:
        if not command.values:
            self._pg.send_query_params(command.query, None, result_format=pq.Format.BINARY)
            return [None]
        transformer = self._transformer
        values = transformer.dump_sequence(command.values, [PyFormat.AUTO] * len(command.values))
        types, formats = tuple(transformer.types or ()), transformer.formats
        key = (command.query, types)
        name = self._prepared.get(key) or next((made.name for made in awaited if made and made.key == key), None)
        answers: list[_Prepared | None] = [None]
        if name is None:
            name = b"diwan_%d" % next(self._numbers)
            self._pg.send_prepare(name, command.query, types)
            answers = [_Prepared(key, name), None]
        self._pg.send_query_prepared(name, values, formats, result_format=pq.Format.BINARY)
        return answers

    async def _results(self) -> list[Any]:
        """Everything up to the end of the message's answers. Raises `OperationalError` where the connection is lost."""
        pg, loop = self._pg, asyncio.get_running_loop()
        socket = pg.socket
        stirred = asyncio.Event()
        results: list[Any] = []
        heard = loop.time()

        def look() -> None:
            nonlocal looking
            looking = loop.call_later(_LOOK_EVERY_S, look)
            stirred.set()

        async def stir() -> None:
            await stirred.wait()
            stirred.clear()
            if loop.time() - heard > _SILENT_S:
                raise psycopg.OperationalError("The server is silent.")

        looking = loop.call_later(_LOOK_EVERY_S, look)
        loop.add_reader(socket, stirred.set)
        try:
            while pg.flush():
                # It may have to read before it can write on.
                loop.add_writer(socket, stirred.set)
                await stir()
                loop.remove_writer(socket)
                pg.consume_input()
            while True:
                while not pg.is_busy():
                    result = pg.get_result()
                    if result is None:
                        continue  # between two commands
                    if result.status == pq.ExecStatus.PIPELINE_SYNC:
                        return results
                    results.append(result)
                    heard = loop.time()
                await stir()
                pg.consume_input()
        finally:
            looking.cancel()
            loop.remove_reader(socket)
            loop.remove_writer(socket)

    def _forget_if_lost(self, failed: Any) -> None:
        """A pooler between us, or an operator, may have had the server forget what was prepared."""
        if failed.error_field(pq.DiagnosticField.SQLSTATE) == b"26000":
            self._prepared.clear()

    def _answer(self, result: Any) -> Answer:
        if result.status != pq.ExecStatus.TUPLES_OK:
            return Answer([], result.command_tuples or 0, result.command_status or b"")
        names = tuple(result.fname(column) for column in range(result.nfields))
        self._transformer.set_pgresult(result)
        return Answer(self._transformer.load_rows(0, result.ntuples, _maker(names)), result.ntuples)


@lru_cache(maxsize=256)
def _maker(names: tuple[bytes | None, ...]) -> Callable[[Sequence[Any]], Any]:
    # Their names are known now only, so no type can know them.
    make: Any = namedtuple
    return make("Row", [(name or b"").decode() for name in names], rename=True)._make
