"""Runs one of Diwan's processes with fault points in it: `python -m tests.faults.crash.launch worker`.

Production code has none: what is wrapped here is `Database.transaction`, the one place where the service commits, and
the edges over which a process speaks to others: the vault's commit, the relay's ring and delivery, the engine's call,
the completion of an activity.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import date, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

from sqlalchemy import text

from diwan.embedded.launch import die_with_parent
from diwan.store.connection import Connection
from tests.faults.crash.points import AFTER, BEFORE, Minefield, Point, end_here

Out = TypeVar("Out")

# Rows that this connection wrote: a row that is only locked gives a transaction an id too, and changes nothing.
_ROWS = text("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables")
# What of an entry's detail makes another point of it; entries of other kinds are one each.
_TOLD = {
    "event:event:consumed": "type",
    "event:event:refused": "code",
    "letter:letter:issued": "kind",
    "task:act:recorded": "act",
    "task:act:refused": "code",
}

# Entries on the chains of letters, in the transactions of letters only: they make no other point of them.
_BESIDE = "letter:receipt:"

# The entries that the transaction of this task has written so far.
_entries: ContextVar[list[str]] = ContextVar("entries")


class Mines:
    """Wraps what one process does, under the process's name."""

    def __init__(self, field: Minefield, process: str) -> None:
        self._field = field
        self._process = process
        self._committing = 0
        self._ending = False

    async def _pass(self, side: str, place: str, what: str = "", case: str = "") -> None:
        """Returns, unless this process ends here, or is about to.

        Another's commit that is on its way is waited for, and then stopped after it: a death that hits it somewhere
        in the middle would leave its own two sides untried.
        """
        if self._field.springs(Point(self._process, place, what, side), case) or self._ending:
            self._ending = True
            while self._committing:  # noqa: ASYNC110 - the other end of it is Postgres
                await asyncio.sleep(0.001)
            end_here()

    def commits(self) -> None:
        """Before and after each commit of a transaction that wrote something."""
        from diwan.store import change, entries
        from diwan.store.database import Database

        build, begin = entries.build_entry, Database.transaction

        def noting(draft: entries.EntryDraft, *given: Any) -> Any:
            told = draft.detail.get(_TOLD.get(draft.kind, ""), "")
            if not draft.kind.startswith(_BESIDE):
                _entries.get([]).append(f"{draft.kind} {told}".strip())
            return build(draft, *given)

        @asynccontextmanager
        async def watched(
            place: str, transaction: AbstractAsyncContextManager[Connection]
        ) -> AsyncGenerator[Connection]:
            noted: list[str] = []
            _entries.set(noted)
            committing = False
            try:
                async with transaction as conn:
                    rows = (await conn.execute(_ROWS)).scalar_one()
                    yield conn
                    wrote = (await conn.execute(_ROWS)).scalar_one() > rows
                    what, case = ", ".join(noted), _case(conn)
                    if wrote:
                        await self._pass(BEFORE, place, what, case)
                        committing = True
                        self._committing += 1
            finally:
                self._committing -= committing
            if wrote:
                await self._pass(AFTER, place, what, case)

        def transaction(db: Database, tenant: str | None, *, snapshot: bool = False) -> Any:
            return watched(_place(sys._getframe(1)), begin(db, tenant, snapshot=snapshot))

        change.build_entry = entries.build_entry = noting
        setattr(Database, "transaction", transaction)  # noqa: B010 - as type checkers see it, no method

    def around(self, owner: Any, name: str) -> None:
        """Before and after each call of a coroutine method that speaks to another process."""
        method: Callable[..., Awaitable[Any]] = getattr(owner, name)

        place = f"{owner.__module__.rpartition('.')[2]}.{method.__qualname__}"

        async def called(*given: Any, **named: Any) -> Any:
            await self._pass(BEFORE, place)
            answer = await method(*given, **named)
            await self._pass(AFTER, place)
            return answer

        setattr(owner, name, called)

    def completions(self) -> None:
        """After an activity has done everything, before Temporal is told so."""
        from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

        from diwan import worker

        mines = self

        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                from temporalio import activity

                answer = await super().execute_activity(input)
                await mines._pass(BEFORE, "completion", activity.info().activity_type)
                return answer

        class Outside(Interceptor):
            def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
                return Inbound(next)

        class Mined(Worker):
            def __init__(self, *given: Any, **named: Any) -> None:
                super().__init__(*given, **{**named, "interceptors": [*named.get("interceptors", ()), Outside()]})

        worker.Worker = Mined

    def _end_at(self, side: str, place: str) -> None:
        if self._field.springs(Point(self._process, place, "", side)):
            end_here()

    def keys(self) -> None:
        """Before and after the vault's own commit."""
        from diwan.vault import database

        begin = database.transaction

        @contextmanager
        def watched(place: str, connection: Any) -> Generator[Any]:
            with begin(connection) as begun:
                yield begun
                self._end_at(BEFORE, place)
            self._end_at(AFTER, place)

        def transaction(connection: Any) -> AbstractContextManager[Any]:
            return watched(_place(sys._getframe(1)), connection)

        database.transaction = transaction


def _place(frame: FrameType) -> str:
    """The module and the qualified name of a function that runs."""
    return f"{frame.f_globals['__name__'].rpartition('.')[2]}.{frame.f_code.co_qualname}".replace(".<locals>", "")


def _case(conn: Connection) -> str:
    """The case that the connection's last change was of, for the report."""
    return conn.case[1] if conn.case else ""


def let_short_periods_be_over() -> None:
    """A period of one unit is over when it begins: so a case can see one end without waiting for a day."""
    from diwan.procedures import periods

    last_day = periods.last_day

    def earlier(period: Any, started_on: date, *given: Any) -> date:
        return started_on - timedelta(days=1) if period.length == 1 else last_day(period, started_on, *given)

    periods.last_day = earlier


def let_last_reminders_be_due() -> None:
    """A reminder on the last working day before is due at once: so a case can see one without waiting for weeks."""
    from diwan.procedures import reminders

    due_at = reminders._due_at

    def earlier(name: str, days: int, state: Any, calendar: Any) -> Any:
        return calendar.start_of(state.entered_on) if days == -1 else due_at(name, days, state, calendar)

    reminders._due_at = earlier


def let_runs_be_looked_at_at_once() -> None:
    """So the history of a run is kept while the stories still go on."""
    from diwan.cli import processes
    from diwan.store import histories

    histories.SOONEST = timedelta(0)
    processes._HISTORIES_S = 0.5


def let_a_call_fail() -> None:
    """Each process's third call meets a fault of the engine: so what is stored of one is on the way of some case."""
    from diwan.domain.errors import Unavailable
    from diwan.pool.engine import EngineClient

    chat, asked = EngineClient.chat, 0

    @functools.wraps(chat)
    async def failing(self: EngineClient, request: bytes, *, traceparent: str = "") -> Any:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Unavailable("engine.failed", "The engine failed (500).")
        return await chat(self, request, traceparent=traceparent)

    setattr(EngineClient, "chat", failing)  # noqa: B010 - as type checkers see it, no method


def lay(process: str, home: Path) -> None:
    """All fault points of a process."""
    mines = Mines(Minefield(home), process)
    if process == "vault":
        mines.keys()
    if process in ("web", "worker", "pool", "relay", "sequencer"):
        mines.commits()
    if process == "worker":
        let_short_periods_be_over()
        let_last_reminders_be_due()
        let_runs_be_looked_at_at_once()
    if process in ("worker", "pool"):
        mines.completions()
    if process == "pool":
        from diwan.pool.engine import EngineClient

        let_a_call_fail()
        mines.around(EngineClient, "chat")
    if process == "sequencer":
        from diwan.signer.client import SignerClient

        mines.around(SignerClient, "sign")
    if process == "relay":
        from diwan.relay import Delivery, Doorbell
        from diwan.rerun_bell import RerunBell

        mines.around(Doorbell, "_ring")
        mines.around(Delivery, "_post")
        mines.around(RerunBell, "_ring")


def keep_running(process: str, run: Callable[[], None]) -> NoReturn:
    """Runs in forks of this process, each replaced when a fault point has killed it.

    The supervisor would start it again just as well (tests/embedded/), but a hundred starts of Python take minutes:
    here what a process imports is imported once.
    """
    for name in _IMPORTED[process]:
        importlib.import_module(name)
    children: dict[int, int] = {}
    told = False

    def tell(number: int, _: object) -> None:
        nonlocal told
        told = True
        for child in children:
            os.kill(child, number)

    def start(place: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        parent, child = os.getpid(), os.fork()
        if child:
            children[child] = place
        for number in _STOPPING:
            signal.signal(number, tell if child else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        if not child:
            die_with_parent(parent, signal.SIGKILL)
            if place:  # the first one answers for all
                os.environ["DIWAN_HEALTH_PORT"] = "0"
            run()
            os._exit(0)

    for place in range(_SEVERAL.get(process, 1)):
        start(place)
    worst = 0
    while children:
        child, status = os.wait()
        place = children.pop(child)
        if not told and os.WIFSIGNALED(status):
            start(place)
        else:
            worst = worst or abs(os.waitstatus_to_exitcode(status))
    os._exit(worst)


# A case waits some ten seconds for a worker that is gone; with several the others' cases go on meanwhile.
_SEVERAL = {"worker": 4, "pool": 2}
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_CLIENTS = ("diwan.cli.processes", "diwan.cli.connections", "diwan.cli.running", "diwan.settings", "httpx")
_IMPORTED = {
    "vault": ("diwan.cli.vault", "diwan.vault.listen", "diwan.vault.setup"),
    "issuer": (),
    "engine": (),
    "web": (*_CLIENTS, "diwan.web.app", "diwan.store.database", "diwan.vault.client", "diwan.documents.readers"),
    "worker": (*_CLIENTS, "diwan.worker", "diwan.documents.typeset", "diwan.vault.client", "diwan.pool.registry"),
    "pool": (*_CLIENTS, "diwan.worker", "diwan.pool.engine", "diwan.vault.client", "diwan.pool.registry"),
    "relay": (*_CLIENTS, "diwan.relay"),
    "sequencer": (*_CLIENTS, "diwan.cli.ledger_processes", "diwan.sequencer", "diwan.relay", "diwan.signer.client"),
    "signer": ("diwan.cli.ledger_processes", "diwan.local.listen", "diwan.signer.server"),
}


if __name__ == "__main__":
    lay(sys.argv[1], Path(os.environ["DIWAN_HOME"]))
    from diwan.cli.main import run

    keep_running(sys.argv[1], run)
