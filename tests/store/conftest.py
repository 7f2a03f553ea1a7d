"""A ministry in the module's database, and a case in it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from diwan.domain.actor import Actor, Role, system
from diwan.domain.case import Result
from diwan.domain.decision import Assessment, Proposal
from diwan.domain.erasure import ScopeRule
from diwan.domain.errors import Conflict, DiwanError, InvalidInput, Refused
from diwan.domain.task import ActInput, TaskAct, TaskKind
from diwan.store import facts, tasks
from diwan.store.acts import TaskView, act_on_task
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.entries import entries_of
from diwan.store.entry_index import catch_up
from diwan.store.intake import Accepted, accept_event
from diwan.store.ledger_tree import Published, grow, open_shard, publish
from diwan.store.proposals import make_proposal
from diwan.store.refusals import refusals_chain
from diwan.store.scope_erasures import ScopeErasure, begin
from diwan.store.tasks import TaskRow
from tests.store.whole_case import whole_case
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT, application, envelope, ministry, sender
from tests.support.keyring import MemoryKeyring

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)

Opened = Callable[..., Awaitable[str]]


@pytest.fixture(scope="module")
async def demo(database: TestDatabase) -> TestDatabase:
    """The module's database with the tenant `demo`: procedure, source and delegation."""
    await ministry(database, now=NOW)
    return database


@pytest.fixture(scope="session")
def keyring() -> MemoryKeyring:
    return MemoryKeyring()


@pytest.fixture
def open_case(demo: TestDatabase, web: Database, keyring: MemoryKeyring, now: datetime) -> Opened:
    """Opens a case by an event of that reference and gives its id."""

    async def opened(reference: str) -> str:
        accepted: Accepted = await accept_event(
            web, keyring, envelope(f"open-{reference}"), application(reference), [], client=sender(), now=now
        )
        assert accepted.case_id is not None
        return accepted.case_id

    return opened


GRANTED = Assessment(result=Result.GRANTED, amount=100_000, grounds=["full_aid"])

ReviewOpened = Callable[..., Awaitable[TaskRow]]


@pytest.fixture
def open_task(demo: TestDatabase, worker: Database, keyring: MemoryKeyring, now: datetime) -> ReviewOpened:
    """Opens a task on a proposal in a case, as the workflow's activities do."""

    async def opened(
        case_id: str,
        kind: TaskKind = TaskKind.REVIEW,
        *,
        assessment: Assessment = GRANTED,
        proposer: str = "rules",
        roles: tuple[Role, ...] = (Role.CLERK, Role.SUPERVISOR),
        visit: int = 1,
    ) -> TaskRow:
        cipher = await keyring.cipher(TENANT, case_id)
        async with worker.transaction(TENANT) as conn, change_case(conn, TENANT, case_id, now=now) as change:
            known = await facts.current_facts(conn, TENANT, case_id, cipher)
            proposal = Proposal(proposer=proposer, assessment=assessment, facts=known)
            made = await make_proposal(conn, TENANT, case_id, proposal, cipher, now=now)
            task = await tasks.open_task(
                change,
                cipher,
                kind=kind,
                step=kind.value,
                visit=visit,
                shown={"case": case_id, "proposal": proposal.model_dump(mode="json")},
                roles=roles,
                proposer=proposer,
                proposal_id=made.id,
            )
            change.record("case:step:moved", system(TENANT, "worker"), cipher=cipher)
        return task

    return opened


Pools = tuple[Database, Database, Database]


@pytest.fixture(scope="module")
async def pools(demo: TestDatabase) -> AsyncIterator[Pools]:
    """The pools of web, case worker and pool worker for fixtures of the module."""
    web, worker, pool = (
        Database.connect(demo.url(role), role=role, pool_size=2) for role in ("diwan_web", "diwan_worker", "diwan_pool")
    )
    yield web, worker, pool
    for made in (web, worker, pool):
        await made.dispose()


SECRET = "PLANTÉ-Zz48-مزروع"


@pytest.fixture(scope="module")
async def whole(demo: TestDatabase, pools: Pools, keyring: MemoryKeyring) -> str:
    """A decided case with a row in every table; personal values hold `SECRET`."""
    with demo.superuser() as connection:
        connection.execute("insert into webhook values ('demo', 'hook', 'http://127.0.0.1:9/', 'hook', true)")
    case = await whole_case(*pools, keyring, "whole", secret=SECRET, now=NOW)
    sequencer = Database.connect(demo.url("diwan_sequencer"), role="diwan_sequencer")
    async with sequencer.transaction(None) as conn:  # one entry has its place, the others wait
        shard = await open_shard(conn, "ledger.example/log")
        await grow(conn, shard, at_most=1)
        await publish(conn, Published(shard.name, 1, shard.root, b"a note"))
    await sequencer.dispose()
    async with pools[1].transaction(TENANT) as conn:
        month = ScopeErasure("searches/2020-01", ScopeRule.SEARCHES, date(2020, 1, 31), date(2023, 1, 31))
        await begin(conn, TENANT, month, legal_basis="", now=NOW)
    await catch_up(pools[0], TENANT)
    return case


Act = Callable[..., Awaitable[TaskView]]


@pytest.fixture
def act(web: Database, keyring: MemoryKeyring, now: datetime) -> Act:
    """`await act(actor, task, TaskAct.X, …)` with the digest of what the task shows, unless another is given."""

    async def acted(actor: Actor, task: TaskRow, what: TaskAct, *, key: str = "k", **given: Any) -> TaskView:
        given.setdefault("digest", task.digest)
        at = given.pop("now", now)
        return await act_on_task(web, keyring, actor, task.id, what, ActInput(**given), key=key, now=at)

    return acted


async def fails(code: str, acting: Awaitable[object]) -> DiwanError:
    """That it is refused with this code."""
    with pytest.raises((Refused, Conflict, InvalidInput)) as caught:
        await acting
    assert caught.value.code == code
    return caught.value


async def refusals_of(web: Database, subject: str) -> list[str]:
    """Codes of what this person or sender was refused, as it stands on the ledger."""
    async with web.transaction(TENANT) as conn:
        entries = await entries_of(conn, TENANT, refusals_chain(subject))
    return [json.loads(entry.header)["detail"]["code"] for entry in entries]
