"""Acts as stored: the task's row, and the answer of each act under its Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from diwan.domain.errors import Conflict
from diwan.domain.ports import Cipher, RetentionClass
from diwan.domain.task import TaskAct
from diwan.store.connection import Connection
from diwan.store.sealing import context
from diwan.store.tables import task, task_act
from diwan.store.tasks import TaskRow


@dataclass(frozen=True, slots=True)
class StoredAct:
    """`answer` is what the caller got; `request_digest` a keyed pseudonym of what was asked."""

    act: TaskAct
    subject: str
    request_digest: str
    answer: dict[str, Any]
    at: datetime


def _place(task_id: str, key: str) -> str:
    return context("task_act.reason_sealed", task_id, key)


async def stored_act(conn: Connection, tenant: str, task_id: str, key: str) -> StoredAct | None:
    """The act that was done under this key, if any."""
    a = task_act.c
    found = await conn.execute(
        select(a.act, a.subject, a.request_digest, a.answer, a.at).where(
            a.tenant == tenant, a.task_id == task_id, a.key == key
        )
    )
    row = found.one_or_none()
    return StoredAct(TaskAct(row.act), *row[1:]) if row else None


async def insert_act(conn: Connection, cipher: Cipher, row: TaskRow, key: str, act: StoredAct, reason: str) -> None:
    """Stores an act with its answer; the reason is sealed."""
    sealed = cipher.seal(RetentionClass.DECISION, _place(row.id, key), reason.encode()) if reason else None
    await conn.execute(
        insert(task_act).values(
            tenant=row.tenant,
            task_id=row.id,
            key=key,
            case_id=row.case_id,
            act=act.act.value,
            subject=act.subject,
            request_digest=act.request_digest,
            answer=act.answer,
            reason_sealed=sealed,
            at=act.at,
        )
    )


_CHANGING = (
    "status",
    "assignee",
    "proposer",
    "proposal_id",
    "roles",
    "shown_sealed",
    "digest",
    "outcome",
    "completed_by",
    "completed_at",
)


async def update_task(conn: Connection, after: TaskRow) -> None:
    """Writes a task as an act leaves it. Raises `Conflict` where it is no longer open."""
    values = {name: getattr(after, name) for name in _CHANGING}
    values.update(status=after.status.value, roles=[role.value for role in after.roles])
    done = await conn.execute(
        update(task)
        .where(task.c.tenant == after.tenant, task.c.id == after.id, task.c.status.in_(("open", "claimed")))
        .values(values)
    )
    if done.rowcount != 1:
        raise Conflict("task.not_open", "The task is no longer open.", "See the worklist: `diwan task list`.")
