"""`python -m bench.ledger [--quick]`: what the ledger costs, into RESULTS.md; 1 where a gate fails."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from psycopg import sql

from bench import programs, report
from bench.cases import SIZES
from bench.command import main
from bench.ledger import case, changes, growth, plain, results
from bench.processes import Process, Ready, bound
from bench.rounds import opener_of, started
from bench.say import say
from bench.server import DebianPostgres, remove
from bench.service import Service
from diwan.embedded import ports, probes
from diwan.signer.memory import initialise, token_file
from diwan.store import migrate
from diwan.store.database import Database

_EMPTY = "empty"


@dataclass(frozen=True)
class Plan:
    """`rounds` of each side at each number of clients, so many seconds each; trees of these sizes."""

    name: str
    rounds: int
    seconds: float
    cases: int
    sizes: tuple[int, ...]
    clients: tuple[int, ...] = (1, 8, 32)


FULL = Plan("full", rounds=7, seconds=8, cases=256, sizes=(10_000, 1_000_000))
QUICK = Plan("quick", rounds=2, seconds=4, cases=64, sizes=(10_000, 50_000))


async def run(given: argparse.Namespace) -> int:
    plan = QUICK if given.quick else FULL
    with tempfile.TemporaryDirectory(prefix="diwan-bench-") as place:
        found = await measure(Path(place), plan)
    judged = results.verdicts(found)
    postgres = programs.postgres().version
    versions = (
        f"Postgres {postgres} (Debian's; fsync, full_page_writes and synchronous_commit on), psycopg "
        f"{version('psycopg')}, sqlalchemy {version('sqlalchemy')}."
    )
    return report.finish(f"ledger, {plan.name}", results.section(plan.name, versions, found, judged), judged)


async def measure(home: Path, plan: Plan) -> results.Found:
    async with AsyncExitStack() as stack:
        postgres = DebianPostgres(home / "postgres", programs.postgres())
        postgres.prepare()
        stack.callback(remove, postgres)
        server = await started(stack, postgres.process(home / "postgres.log"))
        postgres.provision()
        migrate.upgrade(postgres.url("diwan_owner"))
        _copy(postgres, _EMPTY)
        service = Service(home, postgres, "127.0.0.1:1", steps=1)
        await started(stack, service.vault())
        opener = await opener_of(stack, postgres, service)
        say(f"opening {plan.cases} cases")
        ids = [await opener.open(f"ledger-{number}", SIZES["10 kB"]) for number in range(plan.cases + 1)]
        sequencers = Database.connect(postgres.url("diwan_sequencer"), role="diwan_sequencer")
        stack.push_async_callback(sequencers.dispose)
        bundled = await case.measure(opener.worker, opener.web, sequencers, opener.keyring, home, ids.pop())
        await opener.web.dispose()
        await opener.worker.dispose()
        await sequencers.dispose()
        _copy(postgres, plain.DATABASE)
        with postgres.superuser(plain.DATABASE) as connection:
            plain.take_ledger_away(connection)
        sequencer = await _sequencer(stack, home, postgres, service)
        rates = await changes.measure(
            *(postgres, ids, sequencer, server.pid), clients=plan.clients, rounds=plan.rounds, seconds=plan.seconds
        )
        grown = [await growth.measure(postgres, _EMPTY, home / "signers", size) for size in plan.sizes]
        return results.Found(rates, grown, bundled)


def _copy(postgres: DebianPostgres, name: str) -> None:
    """Of the service's database as it stands; nobody is connected to it."""
    with postgres.superuser() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE diwan OWNER diwan_owner").format(sql.Identifier(name)))


async def _sequencer(stack: AsyncExitStack, home: Path, postgres: DebianPostgres, service: Service) -> Process:
    """`diwan sequencer` and its signer as a ministry runs them; the signer runs, the sequencer is to be started."""
    folder, socket, port = home / "signer", home / "signer.sock", ports.free_port()
    initialise(folder)
    common = {
        "signer_address": str(socket),
        "signer_token_file": str(token_file(folder)),
        "ledger_origin": "ledger.example/changes",
    }

    def process(name: str, settings: Mapping[str, str], ready: Ready) -> Process:
        command = bound(sys.executable, "-m", "diwan.cli.main", name)
        return Process(name, command, home / f"{name}.log", service.environment(settings), ready)

    await started(stack, process("signer", {**common, "signer_dir": str(folder)}, probes.unix_http(socket, "/readyz")))
    url = postgres.url("diwan_sequencer")
    settings = {**common, "database_url_sequencer": url, "health_port": str(port)}
    sequencer = process("sequencer", settings, probes.http(port, "/readyz"))
    stack.push_async_callback(sequencer.stop)
    return sequencer


if __name__ == "__main__":
    sys.exit(main("What the ledger costs.", "fewer rounds, smaller trees", run))
