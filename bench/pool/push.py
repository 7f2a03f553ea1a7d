"""Round-robin push: one address before many engines, each call to the next of them, whatever they do just now.

    python -m bench.pool.push --port 9000 --engines 9001 9002

What stands before vLLM servers where nothing better does. It forwards and adds nothing; as an engine it says that it is
never full, for a router does not know.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web


class RoundRobin:
    def __init__(self, engines: list[int]) -> None:
        self._next = itertools.cycle(engines)
        self._first = engines[0]
        self._session: aiohttp.ClientSession | None = None

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/metrics", _metrics)
        app.router.add_get("/{path:.*}", self._ask_first)
        app.router.add_post("/{path:.*}", self._forward)
        app.cleanup_ctx.append(self._connected)
        return app

    async def _connected(self, _: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as self._session:
            yield

    async def _ask_first(self, request: web.Request) -> web.Response:
        return await self._passed_on(request, self._first)

    async def _forward(self, request: web.Request) -> web.Response:
        return await self._passed_on(request, next(self._next))

    async def _passed_on(self, request: web.Request, port: int) -> web.Response:
        assert self._session is not None
        address = f"http://127.0.0.1:{port}{request.path}"
        async with self._session.request(request.method, address, data=await request.read()) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(text="")


async def serve(port: int, engines: list[int]) -> None:
    runner = web.AppRunner(RoundRobin(engines).application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--engines", type=int, nargs="+", required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.port, given.engines))
