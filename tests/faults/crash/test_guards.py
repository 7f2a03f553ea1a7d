"""What keeps a thing from happening twice, switched off: the checker names what then goes wrong, and nothing else.

Each guard stands against a crash after a commit, or against two at once. That is done here to a case's activities as
the service calls them, once with the guard and once without it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import update

from diwan.documents.readers import Readers
from diwan.domain.errors import Conflict, Refused
from diwan.domain.event import PIECES_SUPPLIED, FollowUp
from diwan.domain.task import ActInput, TaskAct
from diwan.embedded.postgres import EmbeddedPostgres
from diwan.store import acts, calls, inbox
from diwan.store.acts import act_on_task
from diwan.store.change import Change
from diwan.store.connection import Statement
from diwan.store.database import Database
from diwan.store.intake import accept_event
from tests.activities.conftest import NOW, furnish
from tests.activities.office import Clock, Office, Wire
from tests.faults.checker import check
from tests.faults.evidence import Acted, Evidence, Report
from tests.support.databases import copy_of_template, drop
from tests.support.factories import CLERK, TENANT, envelope, sender
from tests.support.keyring import MemoryKeyring
from workflows.calls import StepRef

ROLES = ("diwan_web", "diwan_worker", "diwan_pool")


@dataclass
class Trial:
    """A ministry of its own. `remembered` is what a process without the durable cursor would know, until it dies."""

    office: Office
    monkeypatch: pytest.MonkeyPatch
    remembered: dict[str, int]
    off: bool = False
    acted: list[Acted] = field(default_factory=list[Acted])

    def report(self) -> Report:
        return check(Evidence(database=self.office.database.url("postgres"), acted=self.acted, at=NOW))

    def drop(self, statement: str) -> None:
        """The arbiter in Postgres: without it two rows can be where one is."""
        with self.office.database.superuser() as connection:
            connection.execute(statement.encode())


@pytest.fixture
async def trial(postgres: EmbeddedPostgres, readers: Readers, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Trial]:
    database = copy_of_template(postgres)
    await furnish(database)
    with database.superuser() as connection:
        connection.execute("insert into webhook values (%s, 'portal', 'http://127.0.0.1:9', 'portal', true)", [TENANT])
    web, worker, pool = (Database.connect(database.url(role), role=role) for role in ROLES)
    office = Office(database, web, worker, pool, MemoryKeyring(), readers, Clock(NOW))
    yield Trial(office, monkeypatch, {})
    for each in (web, worker, pool):
        await each.dispose()
    drop(database)


# --- an event that is sent again because its answer was lost ----------------------------------------------------------


async def _sent_again(trial: Trial) -> None:
    office = trial.office
    case = await office.reviewed("sent-again")
    for _ in range(2):
        event = envelope("the-same", PIECES_SUPPLIED, subject=case)
        await accept_event(office.web, office.keyring, event, FollowUp(note="x"), [], client=sender(), now=NOW)
    with contextlib.suppress(Conflict):  # without the key the guard behind it refuses to take two for one
        await office.drain(case)


def _no_event_key(trial: Trial) -> None:
    async def unknown(*_: object) -> None:
        return None

    trial.monkeypatch.setattr(inbox, "event_of", unknown)
    trial.drop("alter table inbox drop constraint inbox_pkey cascade")


# --- a person's act that is sent again because its answer was lost ----------------------------------------------------


async def _acted_again(trial: Trial) -> None:
    """Each act of a person, and the same once more under the same key."""
    for act in (TaskAct.CLAIM, TaskAct.EDIT, TaskAct.REJECT, TaskAct.RETURN, TaskAct.APPROVE):
        case = await trial.office.reviewed(f"acted-again-{act.value}")
        (task,) = await trial.office.tasks(case)
        given = ActInput(digest=task.digest, reason="x", changes={"price": 280_000} if act is TaskAct.EDIT else {})
        for _ in range(2):
            trial.acted.append(await _answered(trial, task.id, act, given))
        await trial.office.drain(case)


async def _answered(trial: Trial, task: str, act: TaskAct, given: ActInput) -> Acted:
    office = trial.office
    try:
        done = await act_on_task(office.web, office.keyring, CLERK, task, act, given, key=act.value, now=NOW)
    except (Conflict, Refused) as error:
        return Acted(task, act.value, act.value, error.status)
    return Acted(task, act.value, act.value, 200, done.model_dump(mode="json"))


def _no_act_key(trial: Trial) -> None:
    async def unknown(*_: object) -> None:
        return None

    trial.monkeypatch.setattr(acts, "stored_act", unknown)
    trial.drop("alter table task_act drop constraint task_act_pkey cascade")


# --- a letter whose step is carried out again because its completion was not reported ---------------------------------


class _Any(str):
    """The name of a step that is taken for every other."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, str)


async def _issued_again(trial: Trial) -> None:
    office = trial.office
    case = await office.reviewed("issued-again")
    await office.tell(case, PIECES_SUPPLIED)
    await office.drain(case)
    step = StepRef(tenant=TENANT, case=case, step="receipt", visit=1)
    if trial.off:  # whatever the case does now is taken for this step
        here = await office.here(case)
        step = StepRef.model_construct(tenant=TENANT, case=case, step=_Any(step.step), visit=here.visit)
    await office.perform(step)


def _no_step_key(trial: Trial) -> None:
    trial.off = True


# --- a worker that died after it had taken an event -------------------------------------------------------------------


async def _drained_again(trial: Trial) -> None:
    office = trial.office
    case = await office.reviewed("drained-again")
    await office.tell(case, PIECES_SUPPLIED)
    await office.drain(case)
    trial.remembered.clear()  # the process is gone
    await office.drain(case)


def _no_cursor(trial: Trial) -> None:
    """The cursor of each process is its own, and nothing asks whether an event was consumed before."""
    pending, remembered = inbox.pending, trial.remembered

    async def after_remembered(conn: Any, tenant: str, case: str, _: int, **limit: int) -> Any:
        return await pending(conn, tenant, case, remembered.get(case, 0), **limit)

    async def taken(change: Change, event: inbox.InboxRow, by: str) -> None:
        row = (inbox.inbox.c.tenant == change.case.tenant) & (inbox.inbox.c.event_id == event.event_id)
        await change.conn.execute(update(inbox.inbox).where(row).values(consumed_at=change.now, consumed_by=by))
        remembered[change.case.id] = event.inbox_seq
        change.cursor = max(change.cursor, event.inbox_seq)

    trial.monkeypatch.setattr(inbox, "pending", after_remembered)
    trial.monkeypatch.setattr(inbox, "consume", taken)


# --- a pool worker that was given up for dead and answers after another -----------------------------------------------


async def _answered_again(trial: Trial) -> None:
    office = trial.office
    step, run = await office.examining("answered-again")
    slow = Wire(None)
    async with office.engine(slow) as given_up, office.engine(Wire(None)) as other:

        async def overtaken() -> None:
            await office.ask(other, step, run, 1, final=False)

        slow.before = overtaken
        await office.ask(given_up, step, run, 1, final=False)
    await office.end(step, run, "engine_unavailable")


def _every_answer_counts(trial: Trial) -> None:
    statement = calls._STORE_ANSWER.text
    without, times = re.subn(r" AND NOT EXISTS \(SELECT FROM model_call [^)]+ AND used\)", "", statement)
    assert times == 1
    trial.monkeypatch.setattr(calls, "_STORE_ANSWER", Statement(without))
    trial.drop("drop index model_call_used")


@dataclass(frozen=True)
class Guard:
    """`adversity` is what it stands against; without it the checker finds `red`."""

    name: str
    adversity: Callable[[Trial], Awaitable[None]]
    switch_off: Callable[[Trial], None]
    red: frozenset[str]


GUARDS = (
    Guard("the event's key", _sent_again, _no_event_key, frozenset({"event.stored_twice"})),
    Guard("the act's key", _acted_again, _no_act_key, frozenset({"act.answer_differs"})),
    Guard("the step's key", _issued_again, _no_step_key, frozenset({"letter.doubled"})),
    Guard("the inbox cursor", _drained_again, _no_cursor, frozenset({"event.effect_doubled"})),
    Guard("the first answer wins", _answered_again, _every_answer_counts, frozenset({"answer.doubled"})),
)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
async def test_with_the_guard_nothing_is_doubled(trial: Trial, guard: Guard) -> None:
    await guard.adversity(trial)
    assert trial.report().names <= _NOT_AT_REST


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
async def test_without_the_guard_the_checker_is_red(trial: Trial, guard: Guard) -> None:
    guard.switch_off(trial)
    await guard.adversity(trial)
    assert guard.red <= trial.report().names


async def test_without_its_key_an_act_is_refused_and_not_done_twice(trial: Trial) -> None:
    """Behind the key stands what a task was left as: a repeat is answered 409, and nothing but the answer is wrong."""
    _no_act_key(trial)
    await _acted_again(trial)
    answers = {(each.act, each.status) for each in trial.acted}
    both = {(act, status) for act in ("edit", "reject", "return", "approve") for status in (200, 409)}
    assert answers == both | {("claim", 200)}  # who has a task may claim it again
    assert trial.report().names <= {"act.answer_differs", *_NOT_AT_REST}
    assert trial.report().counts["acts"] == 5


# Nobody carries these cases to their ends.
_NOT_AT_REST = frozenset({"case.waits_for_nothing"})
