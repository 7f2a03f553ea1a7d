"""/v1/tasks: the worklist, what a task shows, and the acts of people on it."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request

from diwan.domain.actor import Actor, Role
from diwan.domain.errors import InvalidInput
from diwan.domain.task import TaskAct, TaskKind, TaskStatus
from diwan.store.acts import act_on_task
from diwan.store.cases import get_case, numbers_of
from diwan.store.stray_events import case_filed_in
from diwan.store.tasks import LIVE, TaskRow, get_task, shown_of, worklist
from diwan.web.api import reads
from diwan.web.api.bodies import read_model
from diwan.web.api.callers import Worker, WorkerOrAuditor
from diwan.web.api.case_views import task_fields, task_summary
from diwan.web.api.examples import ACT
from diwan.web.api.pages import Cursor, Size
from diwan.web.api.reads import Reading, Reads
from diwan.web.api.views import ActBody, Page, TaskAfterAct, TaskSummary, TaskView
from diwan.web.dependencies import Dependencies, Deps
from diwan.web.limits import Limits
from diwan.web.openapi import json_body, reference

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])

_KEYLESS = frozenset({TaskAct.CLAIM, TaskAct.RELEASE})
_KEY_LENGTH = 200

IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=_KEY_LENGTH,
        description="required but to claim and release; the same key again gives the same answer and does nothing",
    ),
]


@router.get("", summary="The worklist: tasks that the caller may act on, the oldest first")
async def list_(
    deps: Deps,
    actor: WorkerOrAuditor,
    reading: Reading,
    status: Annotated[TaskStatus | None, Query(description="open and claimed ones where it is absent")] = None,
    kind: TaskKind | None = None,
    mine: Annotated[bool, Query(description="only those that the caller has claimed")] = False,
    case: Annotated[str, Query(max_length=120, description="only those of this case, by id or number")] = "",
    cursor: Cursor = "",
    limit: Size = Limits.page_size,
) -> Page[TaskSummary]:
    async with deps.db.transaction(actor.tenant) as conn:
        page = await worklist(
            conn,
            actor.tenant,
            _roles(actor),
            statuses=LIVE if status is None else {status},
            kind=kind,
            case_id=(await get_case(conn, actor.tenant, case)).id if case else "",
            assignee=actor.subject if mine else "",
            after=cursor,
            limit=limit,
        )
        numbers = await numbers_of(conn, actor.tenant, {row.case_id for row in page.tasks if row.case_id})
        await reading.record(conn, actor, reads.LIST, of="tasks", found=len(page.tasks))
    items = [task_summary(row, numbers.get(row.case_id or "")) for row in page.tasks]
    return Page(items=items, next=page.next or None)


@router.get("/{task}", summary="A task, with what it shows and the digest that an act is bound to")
async def show(deps: Deps, actor: WorkerOrAuditor, reading: Reading, task: str) -> TaskView:
    row, fields = await _task(deps, actor, task, reading)
    cipher = await deps.cipher(actor.tenant, row.scope)
    return TaskView(**fields, digest=row.digest, shown=shown_of(row, cipher))


@router.post(
    "/{task}/{act}",
    summary="Claim, release, approve, edit, reject or return",
    description="`approve`, `edit`, `reject` and `return` need the header Idempotency-Key and the digest of what was "
    "shown. To edit, reject and return needs a reason. Approving a task `sign` is the signature.",
    openapi_extra=json_body(reference(ActBody), ACT, required=False),
)
async def post(
    request: Request, deps: Deps, actor: Worker, task: str, act: TaskAct, idempotency_key: IdempotencyKey = ""
) -> TaskAfterAct:
    request.state.on_record = True  # act_on_task records what it refuses
    given = await read_model(request, ActBody, deps.limits)
    done = await act_on_task(
        *(deps.db, deps.keyring, actor, task, act, given),
        key=_key(act, idempotency_key),
        now=await deps.stamp(actor.tenant),
    )
    _, fields = await _task(deps, actor, task)
    # The act's own answer, which a repeat gets again, with what never changes of the task.
    return TaskAfterAct(**fields | done.model_dump(include={*TaskAfterAct.model_fields}))


async def _task(
    deps: Dependencies, actor: Actor, task_id: str, reading: Reads | None = None
) -> tuple[TaskRow, dict[str, Any]]:
    """The task, and its fields as answered: with the case that a stray event was filed in."""
    async with deps.db.transaction(actor.tenant) as conn:
        row = await get_task(conn, actor.tenant, task_id)
        case = row.case_id or await case_filed_in(conn, row)
        numbers = await numbers_of(conn, actor.tenant, {case} if case else set())
        if reading is not None:
            await reading.record(conn, actor, reads.TASK, task=task_id, **({"case": case} if case else {}))
    return row, {**task_fields(row, numbers.get(case or "")), "case": case}


def _roles(actor: Actor) -> list[Role]:
    """Whoever distributes or audits the work sees all of it."""
    return list(Role) if actor.has(Role.SUPERVISOR, Role.AUDITOR) else sorted(actor.roles)


def _key(act: TaskAct, key: str) -> str:
    if key and key.isprintable():
        return key
    if act in _KEYLESS and not key:
        return str(uuid.uuid4())
    raise InvalidInput(
        "task.key_missing",
        f"To {act.value} a task needs the header Idempotency-Key, of at most {_KEY_LENGTH} printable characters.",
        "Send a new random key (a UUID) with each act, and the same one when you repeat it.",
    )
