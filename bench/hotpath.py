"""The two activities of a step alone, without Temporal: Python CPU and Postgres CPU of each, for work on the hot path.

    python -m bench.hotpath [--runs 10] [--steps 20] [--size "10 kB"] [--profile FILE]

The activities run in this process, one at a time, on real Postgres with the real vault; a neighbour on the machine
changes these figures little. `--profile` writes cProfile's statistics.
"""

from __future__ import annotations

import argparse
import cProfile
import tempfile
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import TypeVar

import psycopg
import uvloop
from temporalio.testing import ActivityEnvironment

from activities.model import ModelActivities
from activities.registers import Registers
from activities.runs import RunActivities, RunSettings
from agents.loop import CallModel, CallTools, Turn, next_move
from agents.registry import spec_of
from bench import bare, cases, programs
from bench.cases import SIZES, STEP, TENANT, VISIT, Opener, Size
from bench.meters import BENCH, Meters, spent
from bench.rounds import opener_of, started
from bench.say import say
from bench.server import DebianPostgres, remove
from bench.service import CONNECTIONS, ROOM, Service, registry
from diwan.documents.readers import Readers
from diwan.pool.engine import EngineClient
from diwan.pool.gate import Gate
from diwan.pool.health import Health
from diwan.store import migrate
from diwan.store.database import Database
from diwan.vault.callers import Caller
from diwan.vault.client import VaultKeyring
from workflows.calls import ModelCall, RunEnd, StepRef, ToolCall

Out = TypeVar("Out")


class Parts:
    """The activities of a step, metered by name."""

    def __init__(self, model: ModelActivities, runs: RunActivities) -> None:
        self._model, self._runs = model, runs
        self.python: dict[str, list[float]] = {}

    async def run(self, case: str) -> None:
        """A whole run, as the workflow drives it."""
        step = StepRef(tenant=TENANT, case=case, step=STEP, visit=VISIT)
        run = await self._metered("begin_run", ActivityEnvironment().run(self._runs.begin_run, step))
        turns: list[Turn] = []
        while True:
            move = next_move(spec_of(run.spec), turns, elapsed_s=0)
            if isinstance(move, CallModel):
                given = ModelCall(
                    **step.model_dump(), run=run.run, spec=run.spec, call=len(turns) + 1, final=move.final
                )
                turns.append(
                    await self._metered("call_model", ActivityEnvironment().run(self._model.call_model, given))
                )
            elif isinstance(move, CallTools):
                (request,) = move.requests
                tool = ToolCall(
                    **step.model_dump(),
                    run=run.run,
                    spec=run.spec,
                    call=len(turns),
                    position=request.position,
                    tool=request.tool,
                )
                worked = await self._metered("call_tool", ActivityEnvironment().run(self._runs.call_tool, tool))
                turns[-1] = turns[-1].with_results([worked])
            else:
                break
        end = RunEnd(**step.model_dump(), run=run.run, spec=run.spec, reason="")
        await self._metered("end_run", ActivityEnvironment().run(self._runs.end_run, end))

    async def _metered(self, name: str, call: Awaitable[Out]) -> Out:
        began = time.process_time()
        result = await call
        self.python.setdefault(name, []).append((time.process_time() - began) * 1000)
        return result


async def measure(home: Path, runs: int, steps: int, size: Size, profile: Path | None) -> None:
    async with AsyncExitStack() as stack:
        postgres = DebianPostgres(home / "postgres", programs.postgres())
        postgres.prepare()
        stack.callback(remove, postgres)
        server = await started(stack, postgres.process(home / "postgres.log"))
        postgres.provision()
        migrate.upgrade(postgres.url("diwan_owner"))
        service = Service(home, postgres, "127.0.0.1:1", steps=steps)
        await started(stack, service.engine())
        await started(stack, service.vault())
        opener: Opener = await opener_of(stack, postgres, service)
        worker, pool = (
            Database.connect(postgres.url(role), role=role, pool_size=CONNECTIONS)
            for role in ("diwan_worker", "diwan_pool")
        )
        of_worker, of_pool = (VaultKeyring(str(service.socket), service.token(c)) for c in (Caller.WORKER, Caller.POOL))
        readers = await stack.enter_async_context(Readers(size=1))
        engine = await stack.enter_async_context(EngineClient(f"http://127.0.0.1:{service.engine_port}", room=ROOM))
        for close in (worker.dispose, pool.dispose, of_worker.aclose, of_pool.aclose):
            stack.push_async_callback(close)
        watching = stack.enter_context(
            psycopg.connect(postgres.url("postgres", "diwan"), autocommit=True, application_name=BENCH)
        )
        meters = Meters(watching, server.pid)
        parts = Parts(
            ModelActivities(
                *(pool, of_pool, engine, registry().model(bare.MODEL), cases.now),
                host="bench",
                health=Health(engine, bare.MODEL, Gate(ROOM), most=ROOM),
            ),
            RunActivities(
                worker,
                of_worker,
                readers,
                Registers(worker, of_worker),
                RunSettings(models_of=lambda _procedure, _capability, _language: [bare.MODEL]),
                cases.now,
            ),
        )
        ids = [await opener.open(f"hot-{n}", size) for n in range(runs + 1)]
        await parts.run(ids[0])  # connections, caches
        parts.python.clear()
        profiler = cProfile.Profile()
        before = meters.read({})
        if profile is not None:
            profiler.enable()
        for case in ids[1:]:
            await parts.run(case)
        if profile is not None:
            profiler.disable()
            profiler.dump_stats(profile)
        database = spent(before, meters.read({})).total
    for name, taken in parts.python.items():
        say(f"{name:12} {len(taken):5} calls, Python {sum(taken) / len(taken):6.2f} ms, median {median(taken):6.2f} ms")
    python = sum(sum(parts.python[name]) for name in ("call_model", "call_tool")) / runs / steps
    say(f"a step: Python {python:.2f} ms; Postgres, with opening and ending the run, {database / runs / steps:.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description="The two activities of a step alone, without Temporal.")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", choices=list(SIZES), default="10 kB")
    parser.add_argument("--profile", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="diwan-bench-") as home:
        uvloop.run(measure(Path(home), given.runs, given.steps, SIZES[given.size], given.profile))


if __name__ == "__main__":
    main()
