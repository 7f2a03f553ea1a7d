"""Histories of runs: kept once each, whole, with an entry, whoever dies; lost ones are said to be."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, NotFoundFailure
from temporalio.client import WorkflowExecutionStatus, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode

from diwan.domain.errors import NotFound
from diwan.domain.ports import Cipher
from diwan.histories import GIVEN_UP, Histories
from diwan.store.database import Database
from diwan.store.entries import EntryRow, entries_of
from diwan.store.histories import (
    LATEST,
    SOONEST,
    Run,
    RunRow,
    know_runs,
    oldest_waiting,
    open_history,
    runs_of,
    runs_to_look_at,
    sealed_history,
    take_look,
)
from tests.activities.conftest import NOW
from tests.activities.office import Office
from tests.support.factories import TENANT

STORED = Path(__file__).resolve().parents[1] / "replay" / "histories" / "0.1.0"
AGENT = "01-arabic-granted-100000.2.AgentRun.json"
CASE = "01-arabic-granted-100000.1.Case.json"


class Death(BaseException):
    """The process ends here."""


def history_of(name: str, workflow_id: str) -> WorkflowHistory:
    told = json.loads((STORED / name).read_text(encoding="utf-8"))
    return WorkflowHistory.from_json(workflow_id, {"events": told["events"]})


def rpc(status: RPCStatusCode, detail: Any = None) -> RPCError:
    told = GrpcStatus(code=int(status))
    if detail is not None:
        told.details.add().Pack(detail)
    return RPCError("away", status, told.SerializeToString())


@dataclass
class FakeTemporal:
    """What Temporal has of each run: a history, or an error. `fetched` counts what was asked of it."""

    has: dict[str, WorkflowHistory | RPCError] = field(default_factory=dict[str, Any])
    running: set[str] = field(default_factory=set[str])
    fetched: int = 0

    def get_workflow_handle(self, workflow_id: str, *, run_id: str) -> Any:
        there = self.has[run_id]

        async def describe() -> Any:
            if isinstance(there, RPCError):
                raise there
            status = WorkflowExecutionStatus.RUNNING if run_id in self.running else WorkflowExecutionStatus.COMPLETED
            return SimpleNamespace(status=status, close_time=NOW)

        async def fetch_history() -> WorkflowHistory:
            self.fetched += 1
            return cast("WorkflowHistory", there)

        return SimpleNamespace(describe=describe, fetch_history=fetch_history)


@dataclass
class Keeper:
    office: Office
    temporal: FakeTemporal

    async def knows(self, case: str, run: str, tail: str = "") -> Run:
        made = Run(TENANT, run, f"{TENANT}/{case}{tail}", case)
        async with self.office.worker.transaction(TENANT) as conn:
            await know_runs(conn, [made], now=self.office.clock.now)
        return made

    def keeper(self) -> Histories:
        return Histories(self.office.worker, self.office.keyring, cast(Any, self.temporal), self.office.clock)

    async def looks(self, *, later: timedelta = SOONEST) -> int:
        self.office.clock.now += later
        return await self.keeper().pass_once()

    async def runs(self, case: str) -> list[RunRow]:
        async with self.office.worker.transaction(TENANT) as conn:
            return await runs_of(conn, TENANT, case)

    async def entries(self, case: str) -> list[tuple[str, dict[str, Any]]]:
        async with self.office.worker.transaction(TENANT) as conn:
            rows: Sequence[EntryRow] = await entries_of(conn, TENANT, case)
        return [(row.kind, json.loads(row.header)) for row in rows if row.kind.startswith("case:history:")]

    async def waits_s(self) -> float:
        relay = Database.connect(self.office.database.url("diwan_relay"), role="diwan_relay", pool_size=1)
        try:
            async with relay.transaction(None) as conn:
                return (await oldest_waiting(conn, self.office.clock.now))[TENANT,]
        finally:
            await relay.dispose()


@pytest.fixture
async def keeper(office: Office) -> AsyncGenerator[Keeper]:
    yield Keeper(office, FakeTemporal())
    with office.database.superuser() as connection:  # those of other tests are none of this one's
        connection.execute("update workflow_run set state = 'erased', entry_seq = null where state = 'open'")


async def test_a_history_is_kept_once_with_its_digest_on_the_cases_chain(keeper: Keeper, office: Office) -> None:
    case = await office.open("kept")
    run = await keeper.knows(case, "run-kept", "/examine/1")
    keeper.temporal.has[run.run_id] = history_of(AGENT, run.workflow_id)
    assert await keeper.looks(later=timedelta(0)) == 0, "not due yet"
    assert await keeper.looks() == 1
    (kept,) = await keeper.runs(case)
    ((kind, header),) = await keeper.entries(case)
    assert (kind, kept.state, kept.entry_seq) == ("case:history:kept", "kept", header["seq"])
    assert header["detail"] | {"bytes": 0} == {
        **{"workflow": run.workflow_id, "run": "run-kept", "type": "AgentRun", "ended": "completed"},
        **{"events": 42, "bytes": 0, "digest": kept.digest},
    }
    async with office.worker.transaction(TENANT) as conn:
        sealed = await sealed_history(conn, kept)
    content = open_history(await office.keyring.cipher(TENANT, case), kept, sealed)
    assert hashlib.sha256(content).hexdigest() == kept.digest
    assert b"core_local_activity" in content
    assert b"core_local_activity" not in sealed
    # Again, and by another worker that had taken the look before: nothing more.
    assert await keeper.looks(later=LATEST) == 0
    assert len(await keeper.entries(case)) == 1
    assert await keeper.waits_s() == 0


async def test_a_look_is_taken_by_one_worker(keeper: Keeper, office: Office) -> None:
    case = await office.open("twice")
    run = await keeper.knows(case, "run-twice", "/examine/1")
    async with office.worker.transaction(TENANT) as conn:
        (due,) = await runs_to_look_at(conn, office.clock.now + SOONEST)
    taken: list[bool] = []
    for _ in range(2):
        async with office.worker.transaction(TENANT) as conn:
            taken.append(await take_look(conn, due, office.clock.now + SOONEST))
    assert (run.run_id, taken) == (due.run_id, [True, False])


async def test_two_workers_with_one_history_keep_it_once(keeper: Keeper, office: Office) -> None:
    """The look of one took so long that it was another's turn."""
    case = await office.open("both")
    run = await keeper.knows(case, "run-both", "/examine/1")
    keeper.temporal.has[run.run_id] = history_of(AGENT, run.workflow_id)
    office.clock.now += SOONEST
    async with office.worker.transaction(None) as conn:
        (first,) = await runs_to_look_at(conn, office.clock.now)
    assert await keeper.looks(later=LATEST) == 1
    seen = SimpleNamespace(status=WorkflowExecutionStatus.COMPLETED, close_time=NOW)
    assert await keeper.keeper()._keep(first, cast(Any, seen)) is False
    assert len(await keeper.entries(case)) == 1


async def test_who_dies_between_the_look_and_the_commit_begins_again(
    keeper: Keeper, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await office.open("died")
    run = await keeper.knows(case, "run-died", "/examine/1")
    keeper.temporal.has[run.run_id] = history_of(AGENT, run.workflow_id)
    with monkeypatch.context() as patch:

        async def dies(*given: Any, **named: Any) -> bool:
            raise Death

        patch.setattr("diwan.histories.keep_history", dies)
        with pytest.raises(Death):
            await keeper.looks()
    assert [each.state for each in await keeper.runs(case)] == ["open"]
    assert await keeper.entries(case) == []
    office.clock.now += timedelta(hours=30)
    assert await keeper.waits_s() > 86_400, "what operators watch"
    assert await keeper.looks(later=LATEST) == 1
    assert len(await keeper.entries(case)) == 1


async def test_the_runs_that_a_history_names_are_known_from_then_on(keeper: Keeper, office: Office) -> None:
    case = await office.open("led")
    run = await keeper.knows(case, "run-led")
    keeper.temporal.has[run.run_id] = history_of(CASE, run.workflow_id)
    assert await keeper.looks() == 1
    named = [(each.workflow_id.rpartition("examine")[2], each.state) for each in await keeper.runs(case)]
    assert named == [(f"{TENANT}/{case}", "kept"), ("/1", "open")] or ("/1", "open") in named
    assert len(named) == 2


async def test_a_run_that_goes_on_is_asked_for_ever_more_seldom(keeper: Keeper, office: Office) -> None:
    case = await office.open("running")
    run = await keeper.knows(case, "run-running")
    keeper.temporal.has[run.run_id] = history_of(CASE, run.workflow_id)
    keeper.temporal.running = {run.run_id}
    with office.database.superuser() as connection:
        due: list[datetime] = []
        for _ in range(12):
            assert await keeper.looks(later=timedelta(0)) == 0
            due.append(_look_at(connection))
            office.clock.now = due[-1]
    pauses = [later - earlier for earlier, later in itertools.pairwise(due)]
    assert pauses[0] <= 2 * SOONEST
    assert pauses == sorted(pauses)
    office.clock.now += timedelta(days=90)
    await keeper.looks(later=timedelta(0))
    with office.database.superuser() as connection:
        assert _look_at(connection) - office.clock.now == LATEST
    assert await keeper.entries(case) == []


def _look_at(connection: psycopg.Connection[tuple[object, ...]]) -> datetime:
    row = connection.execute("select look_at from workflow_run where run_id = 'run-running'").fetchone()
    assert row is not None
    return cast(datetime, row[0])


async def test_a_history_that_is_cut_is_not_kept_and_waits(keeper: Keeper, office: Office) -> None:
    case = await office.open("cut")
    run = await keeper.knows(case, "run-cut", "/examine/1")
    found = history_of(AGENT, run.workflow_id)
    keeper.temporal.has[run.run_id] = WorkflowHistory(run.workflow_id, list(found.events)[:-1])
    assert await keeper.looks() == 0
    assert await keeper.entries(case) == []
    office.clock.now += timedelta(days=2)
    assert await keeper.waits_s() > 86_400


async def test_one_that_temporal_has_lost_is_said_to_be_lost_after_a_day(keeper: Keeper, office: Office) -> None:
    case = await office.open("lost")
    run = await keeper.knows(case, "run-lost")
    for away in (
        rpc(RPCStatusCode.UNAVAILABLE),
        rpc(RPCStatusCode.NOT_FOUND, NamespaceNotFoundFailure(namespace="diwan")),
    ):
        keeper.temporal.has[run.run_id] = away
        for _ in range(3):
            await keeper.looks(later=GIVEN_UP)
    assert await keeper.entries(case) == [], "Temporal away, or another than ours, loses nothing"
    keeper.temporal.has[run.run_id] = rpc(RPCStatusCode.NOT_FOUND, NotFoundFailure())
    await keeper.looks(later=LATEST)
    assert await keeper.entries(case) == []
    keeper.temporal.has[run.run_id], keeper.temporal.running = history_of(CASE, run.workflow_id), {run.run_id}
    await keeper.looks(later=GIVEN_UP)  # there again: the wrong address, say
    keeper.temporal.has[run.run_id] = rpc(RPCStatusCode.NOT_FOUND, NotFoundFailure())
    await keeper.looks(later=GIVEN_UP)
    assert await keeper.entries(case) == []
    await keeper.looks(later=GIVEN_UP)
    ((kind, header),) = await keeper.entries(case)
    assert (kind, header["detail"]["run"]) == ("case:history:lost", "run-lost")
    assert [each.state for each in await keeper.runs(case)] == ["lost"]


async def test_of_an_erased_case_no_history_is_kept(
    keeper: Keeper, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await office.open("erased")
    run = await keeper.knows(case, "run-erased", "/examine/1")
    keeper.temporal.has[run.run_id] = history_of(AGENT, run.workflow_id)

    def destroyed(cipher: Cipher, run_id: str, content: bytes) -> Any:
        raise NotFound("vault.key_destroyed", "The key is destroyed.", "")

    monkeypatch.setattr("diwan.histories.seal_history", destroyed)
    assert await keeper.looks() == 0
    assert await keeper.entries(case) == []
    assert [each.state for each in await keeper.runs(case)] == ["erased"]
    assert await keeper.waits_s() == 0


async def test_what_is_kept_stays_as_it_is(keeper: Keeper, office: Office) -> None:
    """Not even the owner's role changes what is known of a run, or takes a kept history back."""
    case = await office.open("stays")
    run = await keeper.knows(case, "run-stays", "/examine/1")
    keeper.temporal.has[run.run_id] = history_of(AGENT, run.workflow_id)
    assert await keeper.looks() == 1
    with psycopg.connect(office.database.url("diwan_owner")) as owner:
        owner.execute("select set_config('diwan.tenant', %s, false)", [TENANT])
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            owner.execute("update workflow_run set state = 'open', blob = null, digest = '' where run_id = 'run-stays'")
