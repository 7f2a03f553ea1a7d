"""Hosts of a pool beside a stack: each a real `diwan pool serve` beside an engine that a test can hold, hang and end.

The engines are the demo's, on sockets of the test's own process; the workers are processes that a test ends, stops,
and cuts off from what they need.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diwan.embedded import probes
from diwan.embedded.demo_engine.app import create_app
from diwan.embedded.ports import free_port
from tests.pool.serving import serving
from tests.scenario.office import Json, Office

PATIENCE_S = 120.0
# A pool worker says so of itself (docs/operations.md): drained, or handed back.
STOPS_WITHIN_S = 25.0


class Engine:
    """The demo engine, as a test wants it. A probe is no call: it is answered while calls wait.

    `asked` counts calls; `well` is clear while nothing at all is answered, /health neither.
    """

    def __init__(self) -> None:
        self._app: ASGIApp = create_app()
        self._passing: int | None = None
        self.well = asyncio.Event()
        self.well.set()
        self.asked = 0
        self._changed = asyncio.Condition()

    async def hold(self, *, after: int = 0) -> None:
        """So many calls more are answered; others wait within it."""
        async with self._changed:
            self._passing = self.asked + after

    async def release(self) -> None:
        """What waits is answered, and what comes."""
        self.well.set()
        async with self._changed:
            self._passing = None
            self._changed.notify_all()

    async def has_been_asked(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: self.asked >= times)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.well.wait()
        if scope["type"] != "http" or scope["path"] != "/v1/chat/completions":
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if not str(json.loads(body).get("request_id", "")).startswith("probe-"):
            async with self._changed:
                self.asked += 1
                mine = self.asked
                self._changed.notify_all()
                await self._changed.wait_for(lambda: self._passing is None or mine <= self._passing)
        await self._app(scope, _given(body), send)


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def _given(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


class Host:
    """A pool worker of its own process, by the settings that a stack's own would have; `more` are others.

    `module` is what it runs, in the place of the command line.
    """

    def __init__(self, office: Office, name: str, *, module: str = "diwan.cli.main", **more: str) -> None:
        self.name = name
        self._module = module
        self._office = office
        self._port = free_port()
        given = dict(office.stack._running().program("pool").environment)
        given |= {"DIWAN_POOL_HOST": name, "DIWAN_HEALTH_PORT": str(self._port)}
        for key in more:
            given.pop(f"DIWAN_{key.upper()}_FILE", None)
        self._environment = given | {f"DIWAN_{key.upper()}": value for key, value in more.items()}
        self.log = office.stack.home.logs / f"pool-{name}.log"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it asks for calls."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self._module, "pool", "serve"),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        ready = probes.http(self._port, "/readyz")

        async def so() -> bool:
            assert self.process is not None
            assert self.process.returncode is None, self.log.read_text()[-2000:]
            return await ready()

        await becomes(so)
        await self.is_in("serving")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    async def ended(self, *, within_s: float = PATIENCE_S) -> int:
        """Its exit code."""
        assert self.process is not None
        async with asyncio.timeout(within_s):
            return await self.process.wait()

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.signal(signal.SIGKILL)
            await self.process.wait()

    async def shown(self) -> Json:
        """As `diwan pool status` shows it; nothing before its first sign of life."""
        hosts = (await self._office.get("operator", "/v1/pool"))["hosts"]
        return next((host for host in hosts if host["host"] == self.name), {})

    async def is_in(self, state: str, reason: str = "") -> Json:
        """Waits until it is shown so."""

        async def so() -> bool:
            shown = await self.shown()
            return bool(shown) and (shown["state"], shown["reason"]) == (state, reason) and shown["unseen_s"] < 4

        await becomes(so)
        return await self.shown()

    def said(self) -> list[Json]:
        """Its log, as far as it is lines of JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@asynccontextmanager
async def host(office: Office, name: str, **more: str) -> AsyncGenerator[tuple[Host, Engine]]:
    """A host that serves beside an engine of its own; gone afterwards."""
    engine = Engine()
    async with serving(engine) as url, running(Host(office, name, **{"engine_url": url, **more})) as made:
        try:
            yield made, engine
        finally:
            await engine.release()


@asynccontextmanager
async def running(made: Host) -> AsyncGenerator[Host]:
    """Started, and ended whatever it does then."""
    try:
        await made.start()
        yield made
    finally:
        await made.kill()


async def becomes(holds: Callable[[], Awaitable[bool]], *, within_s: float = PATIENCE_S) -> None:
    """Waits until `holds`."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.1)


def attempts(office: Office, case: str) -> list[Json]:
    """Every attempt of every model call of a case, in the order in which they were sent."""
    with psycopg.connect(office.stack.database_url("postgres")) as connection:
        rows = connection.cursor(row_factory=dict_row).execute(
            "select run_id, call, attempt, status, reason, host, used, started_at, ended_at from model_call "
            "where case_id = %s order by call, attempt",
            [case],
        )
        return rows.fetchall()


async def recorded(office: Office, case: str, holds: Callable[[list[Json]], bool]) -> list[Json]:
    """Waits until `holds` of the attempts on record."""

    async def so() -> bool:
        return holds(await asyncio.to_thread(attempts, office, case))

    await becomes(so)
    return attempts(office, case)


def used_once(rows: list[Json]) -> bool:
    """Every call of the run has exactly one answer that counts."""
    used = [row["call"] for row in rows if row["used"]]
    return used == list(range(1, len(used) + 1)) == sorted({row["call"] for row in rows})


async def examined(office: Office, case: str) -> Json:
    """The case once the agent's step is over."""
    view: dict[str, Any] = await office.case_when(
        case, lambda v: v["step"] not in ("", "receipt", "examine"), within_s=PATIENCE_S
    )
    return view
