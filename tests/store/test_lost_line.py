"""A connection that is reset under a message, as that of a server process that is killed, or falls silent: an error.

On uvloop, which the service runs on and which tells nobody of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import uvloop

from diwan.domain.errors import Unavailable
from diwan.store import exchange
from diwan.store.connection import Statement
from diwan.store.database import Database
from tests.support.cable import cable
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT

ROLE = "diwan_worker"
_SLEEP = Statement("SELECT pg_sleep(:seconds), pg_backend_pid() AS pid")
# SO_LINGER with no time: what is closed so is reset, whatever is under way.
_RESET = struct.pack("ii", 1, 0)


class Between:
    """Stands between a client and the server. Once `doomed` it passes on one more message and resets the connection."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self.doomed = False

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._server)
        answers = asyncio.ensure_future(_pass_on(from_server, writer))
        try:
            while some := await reader.read(1 << 16):
                to_server.write(some)
                if self.doomed:
                    self.doomed = False
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    writer.transport.abort()
                    break
            to_server.close()
            await answers
        finally:
            for each in (to_server, writer):
                each.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while some := await reader.read(1 << 16):
            writer.write(some)
            await writer.drain()
    writer.close()


@contextmanager
def between(url: str) -> Generator[tuple[Between, str]]:
    """One that stands before the server of `url`, on a loop of its own, and the URL by which it is met."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    made = Between(parts.hostname, parts.port)
    port: Future[int] = Future()
    done = threading.Event()

    async def stand() -> None:
        server = await asyncio.start_server(made.take, "127.0.0.1", 0)
        port.set_result(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(done.wait)
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(stand()))
    thread.start()
    user, _, _ = parts.netloc.rpartition("@")
    try:
        yield made, parts._replace(netloc=f"{user}@127.0.0.1:{port.result(20)}").geturl()
    finally:
        done.set()
        thread.join()


async def sleep_twice(db: Database, relay: Between) -> None:
    async with asyncio.timeout(20), db.transaction(TENANT) as conn:
        await _SLEEP.row(conn, {"seconds": 0.0})
        relay.doomed = True
        await _SLEEP.row(conn, {"seconds": 60.0})


async def lose(through: str, relay: Between) -> None:
    """A message is answered, the next is under way when the connection is reset; then the pool has a new one."""
    db = Database.connect(through, role=ROLE, pool_size=1)
    with pytest.raises(Unavailable):
        await sleep_twice(db, relay)
    async with asyncio.timeout(20), db.transaction(TENANT) as conn:
        assert await _SLEEP.row(conn, {"seconds": 0.0}) is not None
    await db.dispose()


def test_a_connection_that_is_reset_is_an_error_and_not_a_wait(database: TestDatabase) -> None:
    with between(database.url(ROLE)) as (relay, through):
        uvloop.run(lose(through, relay))


async def go_silent(url: str) -> None:
    """What is asked of a server that is cut off fails in time; its commit never came. Then all is as before."""
    port = urlsplit(url).port
    assert port is not None
    async with cable(port) as line:
        db = Database.connect(url.replace(f":{port}/", f":{line.port}/"), role=ROLE, pool_size=1)
        async with db.transaction(TENANT) as conn:
            assert await _SLEEP.row(conn, {"seconds": 0.0}) is not None
        line.cut()
        with pytest.raises(Unavailable):
            async with asyncio.timeout(20), db.transaction(TENANT) as conn:
                await _SLEEP.row(conn, {"seconds": 0.0})
        line.mend()
        async with asyncio.timeout(20), db.transaction(TENANT) as conn:
            assert await _SLEEP.row(conn, {"seconds": 0.0}) is not None
        await db.dispose()


def test_a_server_that_falls_silent_is_an_error_and_not_a_wait(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_SILENT_S", 1.0)
    uvloop.run(go_silent(database.url(ROLE)))


async def take_long(url: str) -> None:
    db = Database.connect(url, role=ROLE, pool_size=1)
    async with db.transaction(TENANT) as conn:
        for _ in range(4):  # each is heard of
            assert await _SLEEP.row(conn, {"seconds": 0.5}) is not None
    await db.dispose()


def test_a_transaction_that_takes_long_is_none_that_is_silent(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_SILENT_S", 1.5)
    uvloop.run(take_long(database.url(ROLE)))
