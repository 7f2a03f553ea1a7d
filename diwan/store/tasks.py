"""Tasks for people: opened with what is shown, found on worklists, cancelled when the case moves on."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import RowMapping, insert, or_, select, update

from diwan.domain.actor import Role
from diwan.domain.errors import NotFound
from diwan.domain.ports import Cipher, RetentionClass
from diwan.domain.task import TaskKind, TaskStatus
from diwan.ledger.entry import canonical
from diwan.store.change import Change
from diwan.store.connection import Connection
from diwan.store.cursors import cursor_of, read_cursor
from diwan.store.sealing import context, open_json
from diwan.store.tables import task

_IDS = uuid.UUID("0f5e7cb2-31c5-5d0e-8a39-2f7a6f5c8d10")
LIVE = frozenset({TaskStatus.OPEN, TaskStatus.CLAIMED})


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task without what is shown (`shown_of` opens that)."""

    tenant: str
    id: str
    case_id: str | None
    kind: TaskKind
    step: str
    visit: int
    status: TaskStatus
    assignee: str
    proposer: str
    proposal_id: str
    roles: list[Role]
    shown_sealed: bytes
    digest: str
    outcome: str
    completed_by: str
    created_at: datetime
    due_at: datetime | None
    completed_at: datetime | None
    reminded_at: datetime | None = None

    @property
    def live(self) -> bool:
        return self.status in LIVE

    def having(self, **changed: Any) -> TaskRow:
        """The same task with some columns changed; nothing is stored."""
        return replace(self, **changed)

    @property
    def scope(self) -> str:
        """The scope whose keys it is sealed under: its case, or its own where it has none."""
        return self.case_id or stray_scope(self.id)


_COLUMNS = [task.c[name] for name in TaskRow.__dataclass_fields__]


def stray_scope(task_id: str) -> str:
    """The scope of an event that matches no case, and of its task."""
    return f"stray/{task_id}"


def task_id_of(*key: object) -> str:
    """A task's id follows from the work it stands for, so the same work never has two."""
    return str(uuid.uuid5(_IDS, "\x1f".join(map(str, key))))


def seal_shown(cipher: Cipher, task_id: str, shown: Mapping[str, JsonValue]) -> tuple[bytes, str]:
    """What a person will see, sealed, and its digest: SHA-256 (hex) of its canonical JSON.

    A random salt in it keeps the digest, which stands on the ledger, from telling anything by guessing.
    """
    salted = canonical({**shown, "salt": secrets.token_hex(16)})
    sealed = cipher.seal(RetentionClass.DECISION, context("task.shown_sealed", task_id), salted)
    return sealed, hashlib.sha256(salted).hexdigest()


def shown_of(row: TaskRow, cipher: Cipher) -> dict[str, Any]:
    """What the task shows, salt included, so that anyone can compute its digest. Raises `Tampered`."""
    place = context("task.shown_sealed", row.id)
    return open_json(cipher, RetentionClass.DECISION, place, row.shown_sealed)


async def open_task(
    change: Change,
    cipher: Cipher,
    *,
    kind: TaskKind,
    step: str,
    visit: int,
    shown: Mapping[str, JsonValue],
    roles: Sequence[Role],
    proposer: str = "",
    proposal_id: str = "",
    due_at: datetime | None = None,
) -> TaskRow:
    """Opens the task of this visit of a step, or gives the one that is there. Late events have a task each."""
    event = change.cursor if kind is TaskKind.LATE_EVENT else 0
    id_ = task_id_of(change.case.tenant, change.case.id, step, visit, kind.value, event)
    found = await find_task(change.conn, change.case.tenant, id_)
    if found is not None:
        return found
    sealed, digest = seal_shown(cipher, id_, shown)
    row = TaskRow(
        *(change.case.tenant, id_, change.case.id, kind, step, visit, TaskStatus.OPEN, "", proposer, proposal_id),
        *(list(roles), sealed, digest, "", "", change.now, due_at, None),
    )
    await insert_task(change.conn, row)
    return row


async def insert_task(conn: Connection, row: TaskRow) -> None:
    values = {name: getattr(row, name) for name in TaskRow.__dataclass_fields__}
    values.update(kind=row.kind.value, status=row.status.value, roles=[role.value for role in row.roles])
    await conn.execute(insert(task).values(values))


async def cancel_open_tasks(change: Change) -> int:
    """The case moves on without them: cancels its open tasks of steps, not those about late events; gives how many."""
    done = await change.conn.execute(
        update(task)
        .where(
            task.c.tenant == change.case.tenant,
            task.c.case_id == change.case.id,
            task.c.status.in_([each.value for each in LIVE]),
            task.c.kind != TaskKind.LATE_EVENT.value,
        )
        .values(status=TaskStatus.CANCELLED.value, completed_at=change.now)
    )
    return done.rowcount


async def mark_reminded(change: Change) -> str:
    """Notes on the task of the case's step that its people are reminded now; its id, empty where nobody has it."""
    done = await change.conn.execute(
        update(task)
        .where(
            task.c.tenant == change.case.tenant,
            task.c.case_id == change.case.id,
            task.c.step == change.state.step,
            task.c.visit == change.state.visit,
            task.c.kind != TaskKind.LATE_EVENT.value,
            task.c.status.in_([each.value for each in LIVE]),
        )
        .values(reminded_at=change.now)
        .returning(task.c.id)
    )
    return done.scalar_one_or_none() or ""


async def find_task(conn: Connection, tenant: str, task_id: str) -> TaskRow | None:
    found = await conn.execute(select(*_COLUMNS).where(task.c.tenant == tenant, task.c.id == task_id))
    row = found.mappings().one_or_none()
    return _row(row) if row else None


async def get_task(conn: Connection, tenant: str, task_id: str) -> TaskRow:
    """The task of this id, not locked. Raises `NotFound`."""
    found = await find_task(conn, tenant, task_id)
    if found is None:
        raise NotFound("task.unknown", "There is no such task.", "See the worklist: `diwan task list`.")
    return found


async def tasks_of(conn: Connection, tenant: str, case_id: str) -> list[TaskRow]:
    """All tasks of a case, the first first."""
    found = await conn.execute(
        select(*_COLUMNS)
        .where(task.c.tenant == tenant, task.c.case_id == case_id)
        .order_by(task.c.created_at, task.c.id)
    )
    return [_row(row) for row in found.mappings()]


@dataclass(frozen=True, slots=True)
class TaskPage:
    """`next` is the cursor of the page after, empty on the last."""

    tasks: Sequence[TaskRow]
    next: str


async def worklist(
    conn: Connection,
    tenant: str,
    roles: Sequence[Role],
    *,
    statuses: Collection[TaskStatus] = LIVE,
    kind: TaskKind | None = None,
    case_id: str = "",
    assignee: str = "",
    after: str = "",
    limit: int = 50,
) -> TaskPage:
    """Tasks (open and claimed ones unless said otherwise) that one of `roles` may act on, oldest first; of one kind,
    case or person where given.

    Raises `InvalidInput` for a cursor that is none of ours.
    """
    query = select(*_COLUMNS).where(task.c.tenant == tenant, task.c.status.in_([each.value for each in statuses]))
    query = query.where(task.c.roles.overlap([role.value for role in roles]))
    if kind:
        query = query.where(task.c.kind == kind.value)
    if case_id:
        query = query.where(task.c.case_id == case_id)
    if assignee:
        query = query.where(task.c.assignee == assignee)
    if after:
        at, last = read_cursor(after)
        query = query.where(or_(task.c.created_at > at, (task.c.created_at == at) & (task.c.id > last)))
    found = await conn.execute(query.order_by(task.c.created_at, task.c.id).limit(limit + 1))
    rows = [_row(row) for row in found.mappings()]
    tasks = rows[:limit]
    return TaskPage(tasks, cursor_of(tasks[-1].created_at, tasks[-1].id) if len(rows) > limit else "")


def _row(row: RowMapping) -> TaskRow:
    values: dict[str, Any] = dict(row)
    values.update(
        kind=TaskKind(values["kind"]),
        status=TaskStatus(values["status"]),
        roles=[Role(role) for role in values["roles"]],
    )
    return TaskRow(**values)
