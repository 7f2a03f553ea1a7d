"""A database with finished cases in it, and logs of those outside as they would have kept them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from diwan.documents.readers import Readers
from diwan.domain.event import APPLICATION_WITHDRAWN, PIECES_SUPPLIED
from diwan.domain.task import TaskAct
from diwan.embedded.postgres import EmbeddedPostgres
from diwan.store.database import Database
from tests.activities.conftest import NOW, furnish, readers
from tests.activities.office import PIECES, Clock, Office
from tests.faults.checker import judge, read
from tests.faults.evidence import Acted, Delivered, Evidence, Report, Sent
from tests.support.databases import TestDatabase, copy_of_template, drop
from tests.support.factories import AUTHORITY, CLERK, TENANT
from tests.support.growing import growing
from tests.support.keyring import MemoryKeyring

__all__ = ["readers"]


@dataclass(frozen=True)
class Finished:
    """The database and the logs. `granted` is a case that ended with a decision, `open` one that awaits a clerk."""

    database: TestDatabase
    sent: tuple[Sent, ...]
    acted: tuple[Acted, ...]
    delivered: tuple[Delivered, ...]
    granted: str
    withdrawn: str
    open: str
    waiting: str

    def evidence(self, **changed: Any) -> Evidence:
        logs: dict[str, Any] = {name: getattr(self, name) for name in ("sent", "acted", "delivered")}
        return Evidence(database=self.database.url("postgres"), at=NOW, **(logs | changed))


@pytest.fixture(scope="session")
async def finished(
    postgres: EmbeddedPostgres, readers: Readers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Finished]:
    """Made by the service's own activities: granted, withdrawn, waiting for pieces, under review, one stray event.

    Of the two that wait those who are waited for were reminded.
    """
    demo = copy_of_template(postgres)
    await furnish(demo)
    with demo.superuser() as connection:
        connection.execute("insert into webhook values (%s, 'portal', 'http://127.0.0.1:9', 'portal', true)", [TENANT])
    pools = {role: Database.connect(demo.url(role), role=role) for role in ("diwan_web", "diwan_worker", "diwan_pool")}
    web, worker, pool = pools.values()
    office = Office(demo, web, worker, pool, MemoryKeyring(), readers, Clock(NOW))
    cases = [await _granted(office), await _withdrawn(office), await _open(office), await _waiting(office)]
    await office.tell("DW-2026-999999", PIECES_SUPPLIED)
    for each in pools.values():
        await each.dispose()
    await _placed(demo, tmp_path_factory.mktemp("signer"))
    with demo.superuser() as connection:
        connection.execute("update outbox set delivered_at = now(), attempts = 2, last_status = '200'")
    yield Finished(demo, _sent(demo), _acted(demo), _delivered(demo), *cases)
    drop(demo)


async def _placed(database: TestDatabase, folder: Path) -> None:
    """Every entry has its place in the tree, and that is signed."""
    async with growing(database, folder) as log:
        await log.grow(0)


async def _granted(office: Office) -> str:
    case = await office.reviewed("granted")
    for person in (CLERK, AUTHORITY):
        await office.act(person, case, TaskAct.APPROVE)
        await office.drain(case)
    await office.perform(await office.here(case))
    return case


async def _withdrawn(office: Office) -> str:
    case = await office.reviewed("withdrawn")
    await office.tell(case, APPLICATION_WITHDRAWN)
    await office.drain(case)
    await office.perform(await office.here(case))
    await office.tell(case, PIECES_SUPPLIED)
    await office.drain(case)
    return case


async def _waiting(office: Office) -> str:
    case = await office.open("waiting", {name: text for name, text in PIECES.items() if name != "sale_promise"})
    await office.perform(await office.here(case))
    await office.examine(await office.here(case))
    await office.act(CLERK, case, TaskAct.APPROVE)
    await office.drain(case)
    await office.perform(await office.here(case))
    await _reminded(office, case)
    return case


async def _open(office: Office) -> str:
    case = await office.reviewed("open")
    await _reminded(office, case)
    return case


async def _reminded(office: Office, case: str) -> None:
    at = (await office.row(case)).state.reminders[0].due_at
    assert at is not None
    office.clock.now = at
    await office.wake(case)
    office.clock.now = NOW


def _sent(database: TestDatabase) -> tuple[Sent, ...]:
    """What a sender would have logged; each event was tried three times, the first without an answer."""
    rows = _rows(
        database,
        "select source, event_id, digest, case_id, coalesce((select number from case_file c where c.id = case_id), '') "
        "from inbox where source <> 'task'",
    )
    return tuple(
        Sent(source, id_, f"body of {digest}", status, *((case or "", number) if status else ("", "")))
        for source, id_, digest, case, number in rows
        for status in (0, 202, 202)
    )


def _acted(database: TestDatabase) -> tuple[Acted, ...]:
    """What people would have logged; each act was tried three times, the first without an answer."""
    rows = _rows(database, "select task_id, key, act, answer from task_act")
    return tuple(
        Acted(task, key, act, status, answer if status else {})
        for task, key, act, answer in rows
        for status in (0, 200, 200)
    )


def _delivered(database: TestDatabase) -> tuple[Delivered, ...]:
    rows = _rows(database, "select id, payload from outbox")
    return tuple(Delivered(id_, json.dumps(said), status, True) for id_, said in rows for status in (503, 200))


def _rows(database: TestDatabase, query: str) -> list[Any]:
    with database.superuser() as connection:
        return connection.execute(query.encode()).fetchall()


@dataclass(frozen=True)
class Copy:
    """The finished database in a transaction that is rolled back: to plant faults in, and to have them checked."""

    of: Finished
    connection: psycopg.Connection[tuple[object, ...]]

    def plant(self, statement: str, *values: object) -> None:
        """Past every trigger and key, as an administrator who means it. It must hit something."""
        done = self.connection.execute(statement.encode(), values)
        assert done.rowcount != 0, "nothing was planted"

    def check(self, **changed: Any) -> Report:
        """What the checker makes of it; `changed` are logs of those outside that say something else."""
        return judge(read(self.connection), self.of.evidence(**changed))


@pytest.fixture
def copy(finished: Finished) -> Iterator[Copy]:
    with psycopg.connect(finished.database.url("postgres")) as connection:
        connection.execute("set session_replication_role = replica")
        yield Copy(finished, connection)
        connection.rollback()
