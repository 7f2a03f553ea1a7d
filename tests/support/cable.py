"""A cable between a process and what it is connected to, which a test cuts and mends.

Cut it is silent, as a network that lost its way is: nobody is told, connections stay, new ones are taken and get no
answer. What was sent meanwhile arrives when it is mended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Cable:
    """`port` on 127.0.0.1 leads to `target`: a port there, or the path of a unix socket."""

    def __init__(self, target: int | str) -> None:
        self._target = target
        self._whole = asyncio.Event()
        self._whole.set()
        self._ends: set[asyncio.Task[None]] = set()
        self.port = 0

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = asyncio.current_task()
        assert mine is not None
        self._ends.add(mine)
        writers = [writer]
        try:
            await self._whole.wait()
            there, to_there = await self._connect()
            writers.append(to_there)
            await asyncio.gather(self._pass_on(reader, to_there), self._pass_on(there, writer))
        except (OSError, asyncio.CancelledError):
            pass  # one end went away, or the test is over
        finally:
            self._ends.discard(mine)
            for each in writers:
                each.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, int):
            return await asyncio.open_connection("127.0.0.1", self._target)
        return await asyncio.open_unix_connection(self._target)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while some := await reader.read(1 << 16):
                await self._whole.wait()
                writer.write(some)
                await writer.drain()
            await self._whole.wait()
            if writer.can_write_eof():
                writer.write_eof()

    async def end(self) -> None:
        for task in tuple(self._ends):
            task.cancel()
        await asyncio.gather(*self._ends, return_exceptions=True)


@asynccontextmanager
async def cable(target: int | str) -> AsyncGenerator[Cable]:
    """A whole one; gone afterwards with all connections through it."""
    made = Cable(target)
    server = await asyncio.start_server(made.take, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.end()
        await asyncio.sleep(0)  # what was aborted is closed by its loop
