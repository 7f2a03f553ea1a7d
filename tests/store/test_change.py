"""One change, one version, one entry: or nothing at all."""

from __future__ import annotations

import ast
import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

import diwan.store
from diwan.domain.actor import system
from diwan.domain.case import CaseStatus, PeriodState, StepKind
from diwan.domain.errors import DiwanError, Final, NotFound, Unavailable
from diwan.domain.event import PIECES_SUPPLIED, FollowUp
from diwan.domain.task import ActInput, TaskAct
from diwan.store import cases
from diwan.store.acts import act_on_task
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.entries import append_entry, entries_of
from diwan.store.intake import accept_event
from tests.store.conftest import Opened, ReviewOpened
from tests.support.databases import TestDatabase
from tests.support.factories import CLERK, TENANT, envelope, person, sender
from tests.support.keyring import MemoryKeyring

pytestmark = pytest.mark.usefixtures("demo")

WORKER = system(TENANT, "worker")


async def test_a_change_writes_row_and_entry_together(
    worker: Database, keyring: MemoryKeyring, open_case: Opened, now: datetime
) -> None:
    case_id = await open_case("change")
    cipher = await keyring.cipher(TENANT, case_id)
    wake = now + timedelta(days=3)
    async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
        change.state.step = "examine"
        change.state.flags.append("late.target")
        change.plan(StepKind.AGENT, wake)
        change.blocked = "bug"
        change.record("case:step:moved", WORKER, cipher=cipher, body={"why": "x"}, detail={"to": "examine"})
    async with worker.transaction(TENANT) as conn:
        case = await cases.get_case(conn, TENANT, case_id)
        (_, entry) = await entries_of(conn, TENANT, case_id)
    assert (case.version, case.head) == (2, entry.hash)
    assert (case.state.step, case.kind, case.wake_at, case.blocked) == ("examine", StepKind.AGENT, wake, "bug")
    header = json.loads(entry.header)
    assert (header["case_seq"], header["step"], header["procedure_hash"]) == (2, "receipt", case.procedure_hash)
    assert set(header["commitments"]) == {"fields", "state_before", "state_after"}


async def test_an_entry_says_that_a_case_or_a_period_stood_still_and_went_on(
    worker: Database, open_case: Opened, now: datetime
) -> None:
    case_id = await open_case("stood-still")
    day = now.date()
    runs = PeriodState(started_on=day, due_on=day + timedelta(days=30), due_at=now + timedelta(days=30))
    stands = runs.model_copy(update={"suspended_on": day})
    later = runs.model_copy(update={"suspended_days": 3, "due_on": day + timedelta(days=33)})
    steps: list[tuple[CaseStatus, dict[str, PeriodState]]] = [
        (CaseStatus.OPEN, {"law": runs, "other": runs}),
        (CaseStatus.SUSPENDED, {"law": stands, "other": runs}),
        (CaseStatus.SUSPENDED, {"law": stands, "other": runs}),
        (CaseStatus.OPEN, {"law": later, "other": runs}),
        (CaseStatus.CLOSED, {"law": later, "other": later}),
    ]
    for status, periods in steps:
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
            change.status = status
            change.state.periods = periods
            change.record("case:step:moved", WORKER, detail={"to": "x"})
    async with worker.transaction(TENANT) as conn:
        (_, *entries) = await entries_of(conn, TENANT, case_id)
    assert [json.loads(entry.header)["detail"] for entry in entries] == [
        {"to": "x"},
        {"to": "x", "case_status": "suspended", "suspended": "law"},
        {"to": "x"},
        {"to": "x", "case_status": "open", "resumed": "law", "extended": "law"},
        {"to": "x", "case_status": "closed", "extended": "other"},
    ]


async def test_an_error_leaves_nothing_behind(worker: Database, open_case: Opened, now: datetime) -> None:
    case_id = await open_case("rolled-back")

    async def inside() -> None:
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
            change.state.step = "elsewhere"
            change.record("case:step:moved", WORKER)
            raise RuntimeError

    async def after() -> None:
        async with worker.transaction(TENANT) as conn:
            async with change_case(conn, TENANT, case_id, now=now) as change:
                change.record("case:step:moved", WORKER)
            raise RuntimeError

    for failing in (inside, after):
        with pytest.raises(RuntimeError):
            await failing()
    async with worker.transaction(TENANT) as conn:
        assert (await cases.get_case(conn, TENANT, case_id)).version == 1


async def test_a_change_says_once_what_it_was(worker: Database, open_case: Opened, now: datetime) -> None:
    case_id = await open_case("once")

    async def change_with(*records: bool) -> None:
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
            for record in records:
                if record:
                    change.record("case:step:moved", WORKER)
                else:
                    change.unchanged()

    async def fails(code: str, *records: bool) -> None:
        with pytest.raises(Final) as caught:
            await change_with(*records)
        assert caught.value.code == code

    await fails("change.not_recorded")
    await fails("change.recorded_twice", True, True)
    await fails("change.recorded_twice", True, False)
    await fails("change.recorded_twice", False, True)
    with pytest.raises(NotFound):
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, "none", now=now):
            pass


async def test_a_change_cannot_commit_to_values_without_a_cipher(
    worker: Database, open_case: Opened, now: datetime
) -> None:
    case_id = await open_case("no-cipher")
    with pytest.raises(Final) as caught:
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
            change.record("case:step:moved", WORKER, body={"a": 1})
    assert caught.value.code == "entry.no_cipher"


async def test_a_transaction_changes_one_case(worker: Database, open_case: Opened, now: datetime) -> None:
    one, other = await open_case("one"), await open_case("other")

    async def both() -> None:
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, one, now=now) as first:
            first.record("case:step:moved", WORKER)
            async with change_case(conn, TENANT, other, now=now):
                pass

    with pytest.raises(Final) as caught:
        await both()
    assert caught.value.code == "change.second_case"
    for case_id in (one, other):  # the same connection, another transaction
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
            change.record("case:step:moved", WORKER)


async def test_changes_at_once_take_turns(worker: Database, open_case: Opened, now: datetime) -> None:
    case_id = await open_case("turns")

    async def add(n: int) -> None:
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
            change.state.flags.append(f"f{n}")
            change.record("case:flag:added", WORKER)

    await asyncio.gather(*(add(n) for n in range(20)))
    async with worker.transaction(TENANT) as conn:
        case = await cases.get_case(conn, TENANT, case_id)
    assert (case.version, len(case.state.flags)) == (21, 20)


async def test_entries_outside_cases_take_turns_too(worker: Database, now: datetime) -> None:
    async def add() -> None:
        async with worker.transaction(TENANT) as conn:
            await append_entry(conn, TENANT, "test/turns", "test:entry:written", WORKER, now=now)

    await asyncio.gather(*(add() for _ in range(20)))
    async with worker.transaction(TENANT) as conn:
        assert [entry.seq for entry in await entries_of(conn, TENANT, "test/turns")] == list(range(1, 21))
        with pytest.raises(Final):
            await append_entry(conn, TENANT, "no-slash", "test:entry:written", WORKER, now=now)


async def test_an_act_waits_for_the_case_before_it_locks_its_task(
    web: Database,
    worker: Database,
    keyring: MemoryKeyring,
    demo: TestDatabase,
    open_case: Opened,
    open_task: ReviewOpened,
    now: datetime,
) -> None:
    """Case first, then the rest. The other way round deadlocks with a worker that holds the case and wants the task."""
    case_id = await open_case("lock-order")
    task = await open_task(case_id)
    async with worker.transaction(TENANT) as holder, change_case(holder, TENANT, case_id, now=now) as change:
        given = ActInput(digest=task.digest)
        acting = asyncio.create_task(
            act_on_task(web, keyring, CLERK, task.id, TaskAct.APPROVE, given, key="k", now=now)
        )
        await demo.until_someone_waits()
        await holder.execute(text("SELECT 1 FROM task WHERE id = :id FOR UPDATE NOWAIT"), {"id": task.id})
        change.unchanged()
    assert (await acting).outcome == "approved"


async def test_acts_events_and_steps_at_once_do_not_deadlock(
    web: Database,
    worker: Database,
    keyring: MemoryKeyring,
    open_case: Opened,
    open_task: ReviewOpened,
    now: datetime,
) -> None:
    opened = [await open_case(f"busy-{n}") for n in range(3)]
    shown = [await open_task(case_id) for case_id in opened]

    async def act(n: int) -> None:
        given, who = ActInput(), person(f"clerk-{n}", *CLERK.roles)
        what = TaskAct.CLAIM if n % 2 else TaskAct.RELEASE
        try:
            await act_on_task(web, keyring, who, shown[n % 3].id, what, given, key=f"k{n}", now=now)
        except Unavailable:
            raise
        except DiwanError:
            pass  # claimed by another, or by nobody: it still took the locks

    async def send(n: int) -> None:
        event = envelope(f"busy-{n}", PIECES_SUPPLIED, subject=opened[n % 3])
        await accept_event(web, keyring, event, FollowUp(note=str(n)), [], client=sender(), now=now)

    async def step(n: int) -> None:
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, opened[n % 3], now=now) as change:
            await conn.execute(
                text("UPDATE task SET due_at = :now WHERE case_id = :c"), {"now": now, "c": opened[n % 3]}
            )
            change.record("case:step:moved", WORKER)

    await asyncio.gather(*(does(n) for n in range(18) for does in (act, send, step)))
    async with worker.transaction(TENANT) as conn:
        for case_id in opened:
            case = await cases.get_case(conn, TENANT, case_id)
            kinds = [json.loads(entry.header)["kind"] for entry in await entries_of(conn, TENANT, case_id)]
            assert case.version == len(kinds)
            # one of each is of the opening
            assert (kinds.count("case:step:moved"), case.inbox_last) == (1 + 6, 1 + 6), "once each"


def test_nothing_inside_the_store_commits_or_opens_a_connection() -> None:
    """`Database.transaction` does, at the edge; migrations have their own."""
    folder = Path(diwan.store.__file__).parent
    allowed = {"database.py", "connection.py", "migrate.py"}
    found = [
        f"{path.name}:{node.lineno} {node.attr}"
        for path in sorted(folder.glob("*.py"))
        if path.name not in allowed
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in {"commit", "rollback", "begin", "begin_nested", "abandon", "connect", "autocommit"}
    ]
    assert found == []


async def test_a_database_that_is_gone_is_unavailable(unused_tcp_port_factory: Callable[[], int]) -> None:
    gone = Database.connect(f"postgresql://diwan_web:x@127.0.0.1:{unused_tcp_port_factory()}/none", role="diwan_web")
    with pytest.raises(Unavailable):
        async with gone.transaction(TENANT):
            pass
    await gone.dispose()


async def test_a_connection_that_was_cut_is_unavailable_once(demo: TestDatabase) -> None:
    pool = Database.connect(demo.url("diwan_web"), role="diwan_web", pool_size=1)
    kill = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and usename = 'diwan_web'"

    async def cut() -> None:
        async with pool.transaction(TENANT) as conn:
            with demo.superuser() as connection:
                connection.execute(kill, [demo.name])
            await conn.execute(text("select 1"))

    with pytest.raises(Unavailable):
        await cut()
    async with pool.transaction(TENANT) as conn:
        assert (await conn.execute(text("select 1"))).scalar_one() == 1
    await pool.dispose()


async def test_errors_repeat_no_values(worker: Database, open_case: Opened) -> None:
    case_id = await open_case("quiet")
    secret = "Zineb-Secrete"
    with pytest.raises(Exception, match="case_file") as caught:
        async with worker.transaction(TENANT) as conn:
            await conn.execute(
                text("UPDATE case_file SET blocked = :b, inbox_cursor = 9 WHERE id = :id"), {"b": secret, "id": case_id}
            )
    assert secret not in str(caught.value)


async def run_out(worker: Database, state: str) -> None:
    async with worker.transaction(TENANT) as conn:
        raised = f"RAISE EXCEPTION 'planted' USING ERRCODE = '{state}'"
        await conn.execute(text(f"DO $$ BEGIN {raised}; END $$"))


@pytest.mark.parametrize("state", ["53000", "53100", "53200", "58030"])
async def test_what_runs_out_passes(worker: Database, state: str) -> None:
    """A full disk is nobody's mistake who sends an event: it is to be sent again, not given up."""
    with pytest.raises(Unavailable):
        await run_out(worker, state)
