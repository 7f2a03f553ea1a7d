"""Changes a second: with their entry, with a plain audit table, with neither; in turns, at 1, 8 and 32 clients.

Two processes of clients, as a small ministry runs two of web; both sides on one Postgres, in two databases.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import psycopg

from bench.cases import TENANT
from bench.ledger import plain
from bench.ledger.client import ROLE, Done, Task
from bench.meters import family_ms
from bench.processes import Process, bound
from bench.say import say
from bench.server import DebianPostgres
from bench.service import ROOT
from diwan.domain.errors import Final

LEDGER, SEQUENCED, AUDIT, NEITHER = "entry", "entry, sequencer beside", "audit table", "neither"
SIDES = (LEDGER, AUDIT, NEITHER, SEQUENCED)
_PROCESSES = 2


@dataclass
class Rates:
    """By side, changes a second of each round, in order: neighbours in the lists ran one after the other."""

    clients: int
    rates: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    ms: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    cpu_ms: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    postgres_ms: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})

    def ratios(self, side: str, other: str = AUDIT) -> list[float]:
        """Of neighbouring rounds: a machine that slows over the run moves both."""
        return [ours / theirs for ours, theirs in zip(self.rates[side], self.rates[other], strict=True)]

    def cpu_ratios(self, side: str, other: str = AUDIT) -> list[float]:
        """Of what a change takes of the processor, clients and Postgres together: the other's over this side's."""
        both = [[c + p for c, p in zip(self.cpu_ms[s], self.postgres_ms[s], strict=True)] for s in (side, other)]
        return [theirs / ours for ours, theirs in zip(*both, strict=True)]

    def rate(self, side: str) -> float:
        return median(self.rates[side])

    def middle_ms(self, side: str) -> float:
        return median(self.ms[side])


async def measure(
    postgres: DebianPostgres,
    cases: Sequence[str],
    sequencer: Process,
    postmaster: int,
    *,
    clients: Sequence[int],
    rounds: int,
    seconds: float,
) -> list[Rates]:
    """`sequencer` is started for its rounds, and has placed what waits before the next begins."""
    found = [Rates(number) for number in clients]
    with postgres.superuser(plain.DATABASE) as audit, postgres.superuser("diwan") as ledger:
        for turn in range(rounds):
            for rates in found:
                for side in SIDES if turn % 2 == 0 else tuple(reversed(SIDES)):
                    plain.switch_audit(audit, on=side == AUDIT)
                    if side == SEQUENCED:
                        await sequencer.start()
                        await _all_placed(ledger)
                    before = family_ms(postmaster)
                    done = await _round(postgres, cases, side, rates.clients, seconds)
                    if side == SEQUENCED:
                        await sequencer.stop()
                    _note(rates, side, done, family_ms(postmaster) - before)
    return found


async def _round(postgres: DebianPostgres, cases: Sequence[str], side: str, clients: int, seconds: float) -> list[Done]:
    ledger = side in (LEDGER, SEQUENCED)
    processes = min(_PROCESSES, clients)
    running: list[asyncio.subprocess.Process] = []
    for which in range(processes):
        task = Task(
            url=postgres.url(ROLE, "diwan" if ledger else plain.DATABASE),
            ledger=ledger,
            tenant=TENANT,
            cases=list(cases[which::processes]),
            clients=clients // processes,
            seconds=seconds,
        )
        running.append(
            await asyncio.create_subprocess_exec(
                *bound(sys.executable, "-m", "bench.ledger.client", task.model_dump_json()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
        )
    for process in running:
        assert process.stdout is not None
        await process.stdout.readline()
    ended = await asyncio.gather(*(process.communicate(b"go\n") for process in running))
    if any(process.returncode for process in running):
        raise Final("bench.client_failed", "A client process failed; its error is above.")
    return [Done.model_validate_json(out) for out, _ in ended]


def _note(rates: Rates, side: str, done: Sequence[Done], postgres_ms: float) -> None:
    changes = sum(each.changes for each in done)
    rates.rates[side].append(sum(each.changes / each.seconds for each in done))
    rates.ms[side].append(median(value for each in done for value in each.ms))
    rates.cpu_ms[side].append(sum(each.cpu_s for each in done) * 1000 / changes)
    rates.postgres_ms[side].append(postgres_ms / changes)
    say(f"{rates.clients} clients, {side}: {rates.rates[side][-1]:.0f} changes/s")


async def _all_placed(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    while connection.execute("SELECT EXISTS (SELECT FROM ledger_pending)").fetchone() == (True,):  # noqa: ASYNC110 - a server's state
        await asyncio.sleep(0.2)
