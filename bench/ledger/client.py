"""`python -m bench.ledger.client ROUND`: so many clients that change cases for so many seconds, each cases of its own.

`ROUND` is JSON (`Task`). It says `ready` when it has connected, begins at a line on its standard input, and ends with a
line of JSON (`Done`). A change moves a case (its state differs) and adds a fact, sealed: the same code on either side
but for what this bench compares, the entry.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime

import uvloop
from pydantic import BaseModel

from bench.ledger import plain
from diwan.cli.running import settle
from diwan.domain.actor import system
from diwan.domain.case import CaseState
from diwan.domain.facts import Fact, Provenance
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.facts import store_facts
from diwan.vault.cipher import CaseCipher

KEYS = {retention: bytes([number]) * 32 for number, retention in enumerate(RetentionClass)}  # guards nothing of anybody
ROLE = "diwan_worker"


class Task(BaseModel):
    """What a process is to do: `ledger` says which side; each client goes round its own share of `cases`."""

    url: str
    ledger: bool
    tenant: str
    cases: list[str]
    clients: int
    seconds: float


class Done(BaseModel):
    """What came of it: `ms` are the times of all changes, sorted; `cpu_s` the process's own."""

    changes: int
    seconds: float
    cpu_s: float
    ms: list[float]


Change = Callable[[Database, Task, str, Cipher, int], Awaitable[None]]


async def with_entry(db: Database, task: Task, case: str, cipher: Cipher, number: int) -> None:
    now = datetime.now(UTC)
    async with db.transaction(task.tenant) as conn, change_case(conn, task.tenant, case, now=now) as change:
        change.state.visit += 1
        facts = [_fact(number, now.date())]
        await store_facts(conn, task.tenant, case, facts, cipher, version=change.version, now=change.now)
        change.record(
            "case:step:moved",
            system(task.tenant, "bench"),
            cipher=cipher,
            body={"reason": "The clerk asked for another reading of the same piece.", "facts": ["rooms"]},
            detail={"to": change.state.step, "facts": 1},
        )


async def without(db: Database, task: Task, case: str, cipher: Cipher, number: int) -> None:
    now = datetime.now(UTC)
    async with db.transaction(task.tenant) as conn:
        row = await plain.locked(conn, task.tenant, case)
        state = CaseState.model_validate(row.state)
        state.visit += 1
        facts = [_fact(number, now.date())]
        await store_facts(conn, task.tenant, case, facts, cipher, version=row.version + 1, now=now)
        plain.write(conn, row, state, now)


def _fact(number: int, today: date) -> Fact:
    return Fact(name=f"rooms_{number % 7}", value=3, provenance=Provenance.DECLARED, as_of=today, established_by="form")


async def client(db: Database, task: Task, change: Change, which: int) -> list[float]:
    """Many cases in turn: the facts of one, which each change reads, stay as few as in life."""
    ciphers = {case: CaseCipher(task.tenant, case, KEYS) for case in task.cases[which :: task.clients]}
    turns = itertools.cycle(ciphers.items())
    taken: list[float] = []
    until = time.monotonic() + task.seconds
    while (began := time.monotonic()) < until:
        await change(db, task, *next(turns), len(taken))
        taken.append((time.monotonic() - began) * 1000)
    return taken


async def run(task: Task) -> Done:
    db = Database.connect(task.url, role=ROLE)  # with as many connections as a process of the service has
    change = with_entry if task.ledger else without

    async def all_clients(of: Task) -> list[list[float]]:
        return await asyncio.gather(*(client(db, of, change, which) for which in range(of.clients)))

    await all_clients(task.model_copy(update={"seconds": 0.3}))  # connections are made, statements prepared
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    began, cpu = time.monotonic(), time.process_time()
    each = await all_clients(task)
    seconds, cpu_s = time.monotonic() - began, time.process_time() - cpu
    await db.dispose()
    ms = sorted(value for values in each for value in values)
    return Done(changes=len(ms), seconds=seconds, cpu_s=cpu_s, ms=ms)


def main(argument: str) -> None:
    settle()  # as the service's processes do
    done = uvloop.run(run(Task.model_validate_json(argument)))
    sys.stdout.write(done.model_dump_json() + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
