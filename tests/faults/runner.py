"""One run: a stack, cases in flight, the nemesis; then rest, until all has settled by itself; then the checker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg

from diwan.embedded.bootstrap import TENANT, bootstrap
from diwan.embedded.parts import Options, Parts
from diwan.embedded.supervisor import Stack
from tests.faults import checker, nemesis
from tests.faults.desk import Desk
from tests.faults.disk import SmallDisk
from tests.faults.evidence import Delivered, Evidence, Report, read_jsonl
from tests.faults.people import People
from tests.faults.sender import Portal

ROOT = Path(__file__).resolve().parents[2]
_SECRET = "portal"
# A call to the engine that takes longer has failed; the stack's own default waits minutes.
_ENVIRONMENT = {"DIWAN_ENGINE_TIMEOUT_S": "8"}
_ASKING_S = 20.0


@dataclass(frozen=True)
class Plan:
    """`rage_s`: how long faults go on, the whole deck at least; `short`: one small deck, faster. `settle_s`: how long
    everything may take to come to rest after that."""

    cases: int
    seed: int
    rage_s: float
    settle_s: float
    short: bool = False
    at_once: int = 60
    keep: Path | None = None


@dataclass
class Outcome:
    """What came of a run. `settled_s` counts from the nemesis's rest; None: it never did, `left` is what is open."""

    report: Report
    raged_s: float = 0.0
    settled_s: float | None = None
    left: dict[str, int] = field(default_factory=dict[str, int])
    faults: Counter[str] = field(default_factory=Counter[str])
    outside: Counter[str] = field(default_factory=Counter[str])
    statuses: Counter[int] = field(default_factory=Counter[int])
    restarts: Counter[str] = field(default_factory=Counter[str])


async def run(plan: Plan) -> Outcome:
    """Raises nothing that the service did wrong: that is a finding."""
    os.environ.update(_ENVIRONMENT)
    with _folder(plan.keep) as (folder, small):
        secret = "whsec_" + b64encode(secrets.token_bytes(24)).decode()
        log = folder / "deliveries.jsonl"
        with _helper("tests.faults.receiver", str(log), secret, "0.2") as receiver:
            async with _stack(folder / "home") as (stack, engine):
                _register_webhook(stack, receiver, secret)
                async with httpx.AsyncClient(timeout=_ASKING_S, trust_env=False) as http:
                    desk = Desk(stack.home.path, lambda: stack.urls.web, http, folder / "asked.jsonl")
                    one = _Run(plan, stack, desk, small, {"receiver": receiver, "engine": engine})
                    outcome = await one.through()
                delivered = [Delivered(**row) for row in read_jsonl(log)]
                evidence = Evidence(stack.database_url("postgres"), desk.sent, desk.acted, delivered)
                outcome.report = await asyncio.to_thread(checker.check, evidence)
                one.judge(outcome)
    return outcome


class _Run:
    def __init__(self, plan: Plan, stack: Stack, desk: Desk, small: SmallDisk, control: dict[str, int]) -> None:
        self._plan = plan
        self._stack = stack
        self._desk = desk
        self._began = time.monotonic()
        self._portal = Portal(desk, plan.seed)
        self._people = People(desk, self._portal, _dice(plan, "people"))
        self._nemesis = nemesis.Nemesis(stack, small, control, _dice(plan, "nemesis"), self._say)
        self._nemesis.pace = 0.5 if plan.short else 1.0

    async def through(self) -> Outcome:
        stop, rest = asyncio.Event(), asyncio.Event()
        people = asyncio.create_task(self._people.work(stop))
        applying = asyncio.create_task(self._apply())
        raging = asyncio.create_task(self._rage(rest))
        outcome = Outcome(Report())
        try:
            await asyncio.wait([raging], timeout=self._plan.rage_s)
            rest.set()
            await raging
            outcome.raged_s = time.monotonic() - self._began
            self._say("the nemesis rests")
            outcome.settled_s, outcome.left = await self._settle(applying, people)
            stop.set()
            if outcome.settled_s is not None:
                await asyncio.gather(applying, people)
        finally:
            for task in (raging, applying, people):
                task.cancel()
            await asyncio.gather(raging, applying, people, return_exceptions=True)
        outcome.faults, outcome.statuses = self._nemesis.counts, self._desk.statuses
        outcome.outside = self._portal.counts + self._people.counts
        outcome.restarts = Counter({name: restarts for name, restarts in self._stack.restarts().items() if restarts})
        return outcome

    async def _rage(self, rest: asyncio.Event) -> None:
        deck = nemesis.short_deck(_dice(self._plan, "deck")) if self._plan.short else nemesis.DECK
        await self._nemesis.rage(deck, rest, once=self._plan.short)

    async def _apply(self) -> None:
        """All applicants, so many at once, spread over the first part of the rage."""
        turns = asyncio.Semaphore(self._plan.at_once)
        dice = _dice(self._plan, "portal")
        spread = min(self._plan.rage_s * 0.6, self._plan.cases * 1.0)

        async def one(number: int, after: float) -> None:
            await asyncio.sleep(after)
            async with turns:
                await self._portal.apply(number)

        async with asyncio.TaskGroup() as group:
            for number in range(self._plan.cases):
                group.create_task(one(number, dice.uniform(0, spread)))

    async def _settle(
        self, applying: asyncio.Task[None], people: asyncio.Task[None]
    ) -> tuple[float | None, dict[str, int]]:
        """Seconds until every applicant was heard, every case ended, everything told; and what is open: nothing then.

        None after `settle_s`, or once nothing is left but tasks that the people have given up. Raises what ended the
        applicants or the people early: a fault of this run, not of the service.
        """
        began = time.monotonic()
        told = 0.0
        open_: dict[str, int] = {}
        while time.monotonic() < began + self._plan.settle_s:
            for outside in (applying, people):
                if outside.done():
                    outside.result()
            open_ = await asyncio.to_thread(_open_work, self._stack.database_url("postgres"))
            if applying.done() and not any(open_.values()):
                return time.monotonic() - began, {}
            given_up = len(self._people.given_up)
            if (
                applying.done()
                and given_up
                and open_ == {"cases": given_up, "deliveries": 0, "tasks": given_up, "places": 0}
            ):
                break
            if time.monotonic() > told + 10:
                told = time.monotonic()
                self._say(f"still open: {open_}, applicants {'heard' if applying.done() else 'not all heard'}")
            await asyncio.sleep(0.5)
        return None, open_

    def judge(self, outcome: Outcome) -> None:
        """What those outside had to complain of, added to what the checker found."""
        report = outcome.report
        if outcome.settled_s is None:
            report.find("run.not_settled", "the whole", f"still open after the nemesis's rest: {outcome.left}")
        for task, why in self._people.given_up.items():
            report.find("people.given_up", task, why)
        for refused in self._portal.refused:
            report.find("sender.refused", "portal", refused)
        for unwelcome in self._people.unwelcome:
            report.find("people.unwelcome", "people", unwelcome)
        for case, (number, result) in _results(self._stack.database_url("postgres")).items():
            wanted = self._portal.results.get(case)
            if wanted is None or result not in wanted:
                report.find("case.result_unexpected", f"{number} {case}", f"{result}, not {wanted}")
        if len(self._portal.results) != self._plan.cases:
            report.find("sender.case_missing", "portal", f"{len(self._portal.results)} cases were acknowledged")

    def _say(self, line: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {line}", file=sys.stderr, flush=True)


def _dice(plan: Plan, of: str) -> random.Random:
    return random.Random(f"{plan.seed}/{of}")  # noqa: S311 - to be repeated, not to be secret


def _open_work(database: str) -> dict[str, int]:
    """What is still to be done. Postgres may be the one that is not there: then something is."""
    try:
        with psycopg.connect(database, connect_timeout=5, autocommit=True) as connection:
            row = connection.execute(
                "select (select count(*) from case_file where status <> 'closed' or inbox_last > inbox_cursor), "
                "(select count(*) from outbox where delivered_at is null), "
                "(select count(*) from task where status in ('open', 'claimed')), "
                "(select count(*) from ledger_pending)"
            ).fetchone()
    except psycopg.Error:
        return {"postgres": 1}
    assert row is not None
    return dict(zip(("cases", "deliveries", "tasks", "places"), row, strict=True))


def _results(database: str) -> dict[str, tuple[str, str | None]]:
    with psycopg.connect(database) as connection:
        rows = connection.execute("select id, number, state ->> 'result' from case_file").fetchall()
    return {id_: (number, result) for id_, number, result in rows}


# --- what a run stands on -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _folder(keep: Path | None) -> Generator[tuple[Path, SmallDisk]]:
    """A folder for logs, with one in it for the stack's home: a small disk where that can be had."""
    folder = keep or Path(tempfile.mkdtemp(prefix="diwan-", dir="/tmp"))  # short: sockets lie in it
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    home = folder / "home"
    home.mkdir(mode=0o711)
    small = SmallDisk(home)
    try:
        yield folder, small
    finally:
        if keep and small.mounted:
            shutil.copytree(home / "logs", folder / "logs", dirs_exist_ok=True)
        small.close()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _helper(module: str, *arguments: str) -> Generator[int]:
    """A process of ours beside the stack; gives its port."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def _stack(home: Path) -> AsyncGenerator[tuple[Stack, int]]:
    """A running stack whose pool worker finds the faulty engine where it looks for the engine; and that one's port."""
    ports: list[int] = []
    with contextlib.ExitStack() as helpers:

        async def between(parts: Parts) -> None:
            await bootstrap(parts, clock=lambda: datetime.now(UTC), say=_say_nothing)
            ports.append(helpers.enter_context(_helper("tests.faults.engine", str(parts.ports["engine"]))))
            parts.ports["engine"] = ports[0]

        stack = Stack(Options(home=home, port=0), bootstrap=between, say=lambda line: print(line, file=sys.stderr))
        await stack.start()
        try:
            yield stack, ports[0]
        finally:
            await stack.stop()


def _say_nothing(line: str) -> None:
    """What the bootstrap has to say is of no interest here."""


def _register_webhook(stack: Stack, port: int, secret: str) -> None:
    folder = stack.home.path / "webhooks"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / _SECRET).write_text(secret)
    with psycopg.connect(stack.database_url("postgres")) as connection:
        values = (TENANT, "portal", f"http://127.0.0.1:{port}/", _SECRET, True)
        connection.execute("insert into webhook values (%s, %s, %s, %s, %s)", values)
