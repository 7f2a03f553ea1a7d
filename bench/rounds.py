"""Rounds of the bench: so many agent runs at once, of one side, with everything that they cost metered.

A step is one model call and one tool call. Both sides run on the same servers and queues, in turns, so that a noisy
neighbour meets both; what a round opened beforehand (cases, dossiers) is not in its figures.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import statistics
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from bench import bare, cases, programs
from bench.cases import STEP, TENANT, VISIT, Opener, Size
from bench.meters import BENCH, Meters, Spent, Wal, spent
from bench.processes import Process
from bench.say import say
from bench.server import DebianPostgres, ProductionTemporal, remove
from bench.service import CONNECTIONS, NAMESPACE, Service, bare_workers, rival_workers
from diwan.domain.case import step_key
from diwan.store import migrate
from diwan.store.database import Database
from diwan.temporal import CASE_QUEUE, connect
from diwan.vault.callers import Caller
from diwan.vault.client import VaultKeyring

_PATIENCE_S = 900.0
_LOOK_EVERY_S = 0.05
RIVAL_NAMESPACE = "rival"
_AT_ONCE = 4  # cases opened side by side, before a round


@dataclass(frozen=True)
class Round:
    """`history_bytes` and `events` are medians over the runs, of the agent run's own history."""

    side: str
    runs: int
    steps: int  # a run's
    spent: Spent
    wal: Wal
    history_bytes: float
    events: float

    @property
    def all_steps(self) -> int:
        return self.runs * self.steps

    @property
    def steps_a_second(self) -> float:
        return self.all_steps / self.spent.seconds

    @property
    def cpu_ms_a_step(self) -> float:
        return self.spent.total / self.all_steps

    def cpu_of(self, part: str) -> float:
        return self.spent.cpu.get(part, 0.0) / self.all_steps


class Bench:
    """Servers and both sides, running. Made by `running`."""

    def __init__(self, temporal: str, service: Service, opener: Opener, meters: Meters, watch: Watch) -> None:
        self.temporal = temporal
        self.service = service
        self._opener = opener
        self._meters = meters
        self._watch = watch
        self.shared: dict[str, Process] = {}
        self.diwan: dict[str, Process] = {}
        self.bare: dict[str, Process] = {}
        self.rival: dict[str, Process] = {}
        self._numbers = itertools.count(1)
        self._idle: Mapping[str, float] = {}
        self._session = secrets.token_hex(3)

    async def rest(self, seconds: float) -> Mapping[str, float]:
        """Meters what every part uses when nothing is asked of it (CPU ms a second), which no round is charged with.

        The two sides' workers poll alike; Diwan's are metered, and the others are charged by the same.
        """
        processes = _pids({**self.shared, **self.diwan})
        before = self._meters.read(processes)
        await asyncio.sleep(seconds)
        idle = spent(before, self._meters.read(processes))
        self._idle = {part: value / idle.seconds for part, value in idle.cpu.items()}
        return self._idle

    async def diwan_round(self, runs: int, steps: int, size: Size) -> Round:
        """Cases from their first event to the end of their agent's run."""
        await self._steps(steps)
        ids = await self._open(runs, size)
        client = await connect(self.temporal, NAMESPACE)
        processes = {**self.shared, **self.diwan}
        wal = await self._meters.wal()
        before = self._meters.read(_pids(processes))
        await asyncio.gather(*(ring(client, case) for case in ids))
        await self._watch.ended(ids)
        used = spent(before, self._meters.read(_pids(processes)), idle=self._idle)
        wal = (await self._meters.wal()).since(wal)
        handles = [client.get_workflow_handle(f"{TENANT}/{case}/{STEP}/{VISIT}") for case in ids]
        self._watch.demand_steps(ids, steps)
        return Round("diwan", runs, steps, used, wal, *await _histories(handles))

    async def bare_round(self, runs: int, steps: int) -> Round:
        """The same calls, of nothing."""
        client = await Client.connect(self.temporal, namespace=bare.NAMESPACE)
        ids = [f"bare-{self._session}-{next(self._numbers)}" for _ in range(runs)]
        return await self._workflows("bare", client, "BareRun", steps, ids, steps, {**self.shared, **self.bare})

    async def rival_round(self, runs: int, steps: int, page_bytes: int) -> Round:
        """The same agent on pydantic-ai, whose history grows with what it reads: `page_bytes` a step."""
        await self._steps(steps)
        client = await Client.connect(self.temporal, namespace=RIVAL_NAMESPACE)
        ids = [f"rival-{self._session}-{next(self._numbers)}" for _ in range(runs)]
        return await self._workflows("rival", client, "RivalRun", page_bytes, ids, steps, {**self.shared, **self.rival})

    async def _workflows(
        self,
        side: str,
        client: Client,
        workflow: str,
        argument: int,
        ids: Sequence[str],
        steps: int,
        processes: dict[str, Process],
    ) -> Round:
        wal = await self._meters.wal()
        before = self._meters.read(_pids(processes))
        handles = await asyncio.gather(
            *(client.start_workflow(workflow, argument, id=id_, task_queue=bare.CASE_QUEUE) for id_ in ids)
        )
        async with asyncio.timeout(_PATIENCE_S):
            await asyncio.gather(*(handle.result() for handle in handles))
        used = spent(before, self._meters.read(_pids(processes)), idle=self._idle)
        wal = (await self._meters.wal()).since(wal)
        return Round(side, len(ids), steps, used, wal, *await _histories(handles))

    async def _open(self, runs: int, size: Size) -> list[str]:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one() -> str:
            async with turns:
                return await self._opener.open(f"{self._session}-{next(self._numbers)}", size)

        return list(await asyncio.gather(*(one() for _ in range(runs))))

    async def _steps(self, steps: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.engine_port)
        body = str(steps).encode()
        writer.write(b"POST /steps HTTP/1.1\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
        await reader.read()
        writer.close()


class Watch:
    """Looks at the runs past row security, on a connection whose CPU does not count."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self._connection = connection

    async def ended(self, ids: Sequence[str]) -> None:
        """Return when every run has ended with an answer. Raises where one gave up."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                found = self._connection.execute(
                    "select status, count(*) from agent_run where case_id = any(%s) group by status", [list(ids)]
                ).fetchall()
                count = {str(status): int(str(number)) for status, number in found}
                if bad := {status for status in count if status not in ("running", "finished")}:
                    raise RuntimeError(f"runs ended as {bad}: the bench measures finished ones only")
                if count.get("finished", 0) == len(ids):
                    return
                await asyncio.sleep(_LOOK_EVERY_S)

    def demand_steps(self, ids: Sequence[str], steps: int) -> None:
        """Every run made the calls that it is measured for, each once."""
        runs = [step_key(case, STEP, VISIT) for case in ids]
        row = self._connection.execute(
            "select (select count(*) from model_call where run_id = any(%(runs)s) and used),"
            " (select count(*) from tool_call where run_id = any(%(runs)s))",
            {"runs": runs},
        ).fetchone()
        expected = ((steps + bare.CLOSING_CALLS) * len(runs), steps * len(runs))
        if row != expected:
            raise RuntimeError(f"{row} model and tool calls are on record where {expected} were to be")


async def ring(client: Client, case: str) -> None:
    """As the relay does."""
    await client.start_workflow(
        "Case",
        {"tenant": TENANT, "case": case},
        id=f"{TENANT}/{case}",
        task_queue=CASE_QUEUE,
        start_signal="ring",
    )


async def _histories(handles: Sequence[WorkflowHandle[Any, Any]]) -> tuple[float, float]:
    described = [await handle.describe() for handle in handles]
    infos = [each.raw_description.workflow_execution_info for each in described]
    return (
        statistics.median(info.history_size_bytes for info in infos),
        statistics.median(info.history_length for info in infos),
    )


def _pids(processes: dict[str, Process]) -> dict[str, int]:
    return {part: process.pid for part, process in processes.items()}


@asynccontextmanager
async def running(home: Path, *, steps: int) -> AsyncGenerator[Bench]:
    """Everything started in `home`, and ended."""
    built, found = programs.temporal(), programs.postgres()
    async with AsyncExitStack() as stack:
        postgres = DebianPostgres(home / "postgres", found)
        postgres.prepare()
        stack.callback(remove, postgres)
        server = await started(stack, postgres.process(home / "postgres.log"))
        postgres.provision()
        postgres.make_temporal_databases(built.sql_tool)
        temporal = ProductionTemporal(home / "temporal", built.server, postgres)
        temporal_process = await started(stack, temporal.process(home / "temporal.log"))
        for namespace in (NAMESPACE, bare.NAMESPACE, RIVAL_NAMESPACE):
            await temporal.make_namespace(namespace)
        migrate.upgrade(postgres.url("diwan_owner"))
        service = Service(home, postgres, temporal.address, steps=steps)
        engine = await started(stack, service.engine())
        vault = await started(stack, service.vault())
        opener = await opener_of(stack, postgres, service)
        worker, pool = await started(stack, service.worker()), await started(stack, service.pool())
        sides = [await started(stack, process) for process in bare_workers(home, temporal.address)]
        rivals = [await started(stack, each) for each in rival_workers(home, temporal.address, service.engine_port)]
        watching = psycopg.connect(postgres.url("postgres", "diwan"), autocommit=True, application_name=BENCH)
        stack.callback(watching.close)
        bench = Bench(temporal.address, service, opener, Meters(watching, server.pid), Watch(watching))
        bench.shared = {"temporal": temporal_process}
        bench.diwan = {"case worker": worker, "pool worker": pool, "vault": vault, "engine": engine}
        bench.bare = dict(zip(("case worker", "pool worker"), sides, strict=True))
        bench.rival = {**dict(zip(("case worker", "pool worker"), rivals, strict=True)), "engine": engine}
        await _serves(temporal.address)
        yield bench


async def started(stack: AsyncExitStack, process: Process) -> Process:
    say(f"starting {process.name}")
    stack.push_async_callback(process.stop)
    await process.start()
    return process


async def opener_of(
    stack: AsyncExitStack, postgres: DebianPostgres, service: Service, tenants: Sequence[str] = (TENANT,)
) -> Opener:
    """Opens cases of these ministries, which it makes."""

    def database(role: str) -> Database:
        return Database.connect(postgres.url(f"diwan_{role}"), role=f"diwan_{role}", pool_size=CONNECTIONS)

    owner, web, worker = database("owner"), database("web"), database("worker")
    keyring = VaultKeyring(str(service.socket), service.token(Caller.WEB))
    for close in (web.dispose, worker.dispose, keyring.aclose):
        stack.push_async_callback(close)
    for tenant in tenants:
        await cases.make_ministry(owner, tenant)
    await owner.dispose()
    return Opener(web, worker, keyring)


async def _serves(address: str) -> None:
    """A new namespace is known to the whole server only after a while."""
    client = await Client.connect(address, namespace=bare.NAMESPACE)
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                handle = await client.start_workflow(
                    bare.BareRun.run, 1, id="ready", task_queue=bare.CASE_QUEUE, request_eager_start=False
                )
                await handle.result()
                return
            except RPCError:
                await asyncio.sleep(0.5)
