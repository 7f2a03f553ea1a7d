"""Servers, service, and so many engines with a pool worker beside each; asked how busy the engines are."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, LiteralString

import aiohttp
import psycopg

from bench import bare, programs
from bench.cases import TENANT, Opener
from bench.meters import BENCH
from bench.pool.pace import Pace
from bench.processes import Process, bound
from bench.rounds import opener_of, started
from bench.server import DebianPostgres, ProductionTemporal, remove
from bench.service import NAMESPACE, Service
from diwan.embedded import ports, probes
from diwan.store import migrate

MODEL = "paced"
OTHER_TENANT = "other"
PATIENCE_S = 3_600.0
_AT_ONCE = 4  # pool workers that start side by side
_CONNECTIONS = 4  # of a pool worker


class Placement(StrEnum):
    """Who decides which engine has a call."""

    OURS = "pull, warm hosts first"
    RANDOM = "pull, whoever is free"
    PUSH = "push, round-robin"


@dataclass(frozen=True)
class Busy:
    """All engines together so far. `fresh` are prompt tokens that no cache had."""

    busy_s: float
    running: int
    waiting: int
    served: int
    queries: int
    hits: int

    @property
    def fresh(self) -> int:
        return self.queries - self.hits


@dataclass(frozen=True)
class Fleet:
    """`hosts` engines of `pace`, all of one process, each with its pool worker."""

    hosts: int
    pace: Pace
    engine_ports: list[int]

    @property
    def slots(self) -> int:
        return self.hosts * self.pace.slots

    async def busy(self, http: aiohttp.ClientSession) -> Busy:
        async with http.get(f"http://127.0.0.1:{self.engine_ports[0]}/pace") as answer:
            told: list[dict[str, float]] = await answer.json()
        total = {name: sum(each[name] for each in told) for name in told[0]}
        return Busy(
            busy_s=total["busy_s"],
            **{name: int(total[name]) for name in ("running", "waiting", "served", "queries", "hits")},
        )


class Ground:
    """What a fleet stands on: Postgres, Temporal's production server, vault, and cases opened on them."""

    def __init__(self, folder: Path, service: Service, temporal: str, opener: Opener, watching: Watching) -> None:
        self.folder = folder
        self.service = service
        self.temporal = temporal
        self.opener = opener
        self.watching = watching

    @asynccontextmanager
    async def fleet(
        self, hosts: int, placement: Placement, pace: Pace, *, steps: int, answer: int
    ) -> AsyncGenerator[Fleet]:
        """Engines, pool workers and a case worker, started and ended."""
        async with AsyncExitStack() as stack:
            fleet = Fleet(hosts, pace, [ports.free_port() for _ in range(hosts)])
            await started(stack, self._engines(fleet, steps, answer))
            targets = fleet.engine_ports
            room = pace.slots
            if placement is Placement.PUSH:
                router = ports.free_port()
                await started(stack, self._push(router, fleet.engine_ports))
                targets, room = [router], min(fleet.slots * 2, 512)
            waits = {} if placement is Placement.OURS else {"agent_host_wait_s": "0"}
            await started(stack, self.service.worker(**waits))
            for begin in range(0, len(targets), _AT_ONCE):
                some = targets[begin : begin + _AT_ONCE]
                made = [self._host(begin + number, port, room) for number, port in enumerate(some)]
                for process in made:
                    stack.push_async_callback(process.stop)
                await asyncio.gather(*(process.start() for process in made))
            yield fleet

    def _engines(self, fleet: Fleet, steps: int, answer: int) -> Process:
        arguments = (
            *("--model", MODEL, "--steps", str(steps), "--answer", str(answer)),
            *("--pace", json.dumps(asdict(fleet.pace))),
            *("--ports", *(str(port) for port in fleet.engine_ports)),
        )
        last = fleet.engine_ports[-1]
        return self._program("engines", "bench.pool.engine", arguments, last)

    def _push(self, port: int, engines: list[int]) -> Process:
        arguments = ("--port", str(port), "--engines", *(str(each) for each in engines))
        return self._program("router", "bench.pool.push", arguments, port)

    def _program(self, name: str, module: str, arguments: tuple[str, ...], port: int) -> Process:
        command = bound(sys.executable, "-m", module, *arguments)
        environment = self.service.environment({})
        return Process(name, command, self.folder / f"{name}.log", environment, lambda: probes.tcp(port))

    def _host(self, number: int, engine_port: int, room: int) -> Process:
        connections = {"database_pool_size": str(max(_CONNECTIONS, min(room, 16)))}
        return self.service.pool_host(f"host {number}", engine_port, room, health=ports.free_port(), **connections)


class Watching:
    """Looks at what is on record, past row security."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self._connection = connection

    def ended(self, ids: list[str]) -> int:
        """How many of these cases' runs have ended with an answer. Raises where one gave up."""
        row = self._connection.execute(
            "select count(*) filter (where status = 'finished'),"
            " count(*) filter (where status not in ('finished', 'running'))"
            " from agent_run where case_id = any(%s)",
            [ids],
        ).fetchone()
        assert row is not None
        ended, gave_up = (int(str(value)) for value in row)
        if gave_up:
            raise RuntimeError(f"{gave_up} runs gave up: what is measured are runs that end with an answer")
        return ended

    def all_over(self, ids: list[str]) -> bool:
        """Whether each of these cases had a run, and none has one that goes on."""
        begun, running = self.row(
            "select count(distinct case_id), count(*) filter (where status = 'running') from agent_run"
            " where case_id = any(%s)",
            [ids],
        )
        return (begun, running) == (len(ids), 0)

    def row(self, statement: LiteralString, values: list[object]) -> tuple[Any, ...]:
        found = self._connection.execute(statement, values).fetchone()
        assert found is not None
        return found

    def rows(self, statement: LiteralString, values: list[object]) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    async def all_ended(self, ids: list[str], *, look_every_s: float = 0.5) -> None:
        """Returns when all of these cases' runs have ended with an answer."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if self.ended(ids) == len(ids):
                    return
                await asyncio.sleep(look_every_s)


@asynccontextmanager
async def ground(home: Path, *, model: str = MODEL) -> AsyncGenerator[Ground]:
    """Everything started in `home`, and ended. `model`: what engines are asked for."""
    built, found = programs.temporal(), programs.postgres()
    async with AsyncExitStack() as stack:
        postgres = DebianPostgres(home / "postgres", found)
        postgres.prepare()
        stack.callback(remove, postgres)
        await started(stack, postgres.process(home / "postgres.log"))
        postgres.provision()
        postgres.make_temporal_databases(built.sql_tool)
        temporal = ProductionTemporal(home / "temporal", built.server, postgres)
        await started(stack, temporal.process(home / "temporal.log"))
        for namespace in (NAMESPACE, bare.NAMESPACE):
            await temporal.make_namespace(namespace)
        migrate.upgrade(postgres.url("diwan_owner"))
        service = Service(home, postgres, temporal.address, steps=0, model=model)
        await started(stack, service.vault())
        opener = await opener_of(stack, postgres, service, (TENANT, OTHER_TENANT))
        watching = psycopg.connect(postgres.url("postgres", "diwan"), autocommit=True, application_name=BENCH)
        stack.callback(watching.close)
        yield Ground(home, service, temporal.address, opener, Watching(watching))
