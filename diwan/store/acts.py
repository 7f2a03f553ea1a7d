"""What people do with tasks: one idempotent transaction an act, bound to the digest of what was shown.

The case's row is locked first; then the task is read again, rights are checked, and task, inbox event and entry are
written together. An act that is refused is on record too. edits.py makes the revision of an edit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from pydantic import BaseModel, JsonValue
from sqlalchemy import text

from diwan.domain.actor import Actor
from diwan.domain.errors import Conflict, InvalidInput, Refused
from diwan.domain.event import TASK_COMPLETED
from diwan.domain.ports import Cipher, Keyring
from diwan.domain.task import ActInput, TaskAct, TaskKind, TaskStatus
from diwan.ledger.entry import EntryApproval
from diwan.procedures.steps import APPROVED, EDITED, REJECTED, RETURNED
from diwan.store import clock_watch, edits, inbox, stray_events
from diwan.store.act_checks import Standing, check_act, check_signature
from diwan.store.act_records import StoredAct, insert_act, stored_act, update_task
from diwan.store.change import Change, change_case
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.store.delegations import Delegation
from diwan.store.digests import keyed_digest
from diwan.store.entries import EntryFields, append_entry
from diwan.store.procedures import Published, published_by_hash
from diwan.store.proposals import ProposalRow, get_proposal
from diwan.store.refusals import record_refusal
from diwan.store.tasks import TaskRow, get_task

log = structlog.get_logger()

OUTCOMES = {TaskAct.APPROVE: APPROVED, TaskAct.REJECT: REJECTED, TaskAct.RETURN: RETURNED}


class TaskView(BaseModel):
    """A task after an act. Stored as the act's answer: nothing in it is personal data."""

    id: str
    case_id: str | None
    kind: TaskKind
    step: str
    visit: int
    status: TaskStatus
    assignee: str
    proposer: str
    digest: str
    outcome: str
    completed_by: str


@dataclass(frozen=True, slots=True)
class _Request:
    """An act as asked for; `digest` is a keyed pseudonym of all that it says."""

    actor: Actor
    act: TaskAct
    given: ActInput
    key: str
    digest: str
    now: datetime


async def act_on_task(
    db: Database,
    keyring: Keyring,
    actor: Actor,
    task_id: str,
    act: TaskAct,
    given: ActInput,
    *,
    key: str,
    now: datetime,
) -> TaskView:
    """Does the act, once for each `key` (Idempotency-Key): the same again gives the same answer.

    Raises `NotFound`; `Refused` where the actor may not do it (role, four eyes, delegation, an assessment that is
    still open), `Conflict` where the task has changed, was claimed by another, or the key was used for something
    else, all of them on record; `InvalidInput` for a missing reason or changes that make no sense.
    """
    if not 0 < len(key) <= 200:
        raise InvalidInput("task.key_missing", "An act needs an Idempotency-Key of 1 to 200 characters.", "Send one.")
    async with db.transaction(actor.tenant) as conn:
        task = await get_task(conn, actor.tenant, task_id)
    cipher = await keyring.cipher(actor.tenant, task.scope)
    said = {"act": act.value, "subject": actor.subject, **given.model_dump(mode="json")}
    digest, _ = await keyed_digest(keyring, actor.tenant, "task.act", said)
    request = _Request(actor, act, given, key, digest, now)
    try:
        if task.kind is TaskKind.STRAY_EVENT and act is TaskAct.EDIT:
            return await _assigned(db, keyring, cipher, task_id, request)
        async with db.transaction(actor.tenant) as conn:
            if task.case_id is None:
                return await _without_case(conn, cipher, task_id, request)
            async with change_case(conn, actor.tenant, task.case_id, now=now) as change:
                return await _in_case(change, cipher, task_id, request)
    except (Refused, Conflict) as error:
        detail = {"task": task_id, "act": act.value, "case": task.case_id or ""}
        await record_refusal(db, actor, "task:act:refused", error, now=now, detail=detail)
        raise


async def _in_case(change: Change, cipher: Cipher, task_id: str, request: _Request) -> TaskView:
    conn, tenant = change.conn, change.case.tenant
    request = replace(request, now=change.now)  # what was committed while it waited for the case stays before it
    before = await _done_before(conn, tenant, task_id, request)
    if before is not None:
        change.unchanged()
        return before
    task = await get_task(conn, tenant, task_id)
    if request.act is TaskAct.CLAIM and task.assignee == request.actor.subject:
        change.unchanged()
        return view_of(task)
    procedure = await published_by_hash(conn, tenant, change.case.procedure_hash)
    proposal = await get_proposal(conn, tenant, task.proposal_id, cipher) if task.proposal_id else None
    standing = Standing(task, proposal, request.actor, request.act, request.given)
    check_act(standing)
    delegation = await check_signature(conn, standing, change.case, procedure, request.now)
    after = await _effect(change, cipher, standing, procedure, request, delegation)
    await clock_watch.mark_unsure(change)
    await update_task(conn, after)
    await _store_act(conn, cipher, after, request)
    change.record("task:act:recorded", request.actor, **_said(task, after, proposal, request, cipher, delegation))
    log.info("task.acted", tenant=tenant, task=task_id, act=request.act.value, status=after.status.value)
    return view_of(after)


async def _effect(
    change: Change,
    cipher: Cipher,
    standing: Standing,
    procedure: Published,
    request: _Request,
    delegation: Delegation | None,
) -> TaskRow:
    if request.act is TaskAct.EDIT:
        after = await edits.revise(change, cipher, standing, procedure.procedure)
        if after.kind is TaskKind.REQUEST_PIECES and not edits.lacks_pieces(after, cipher):
            after = _completed(after, request, EDITED)  # nothing is left to ask for: on to the review
    else:
        after = _next(standing.task, request)
    if after.status is TaskStatus.COMPLETED and after.kind is not TaskKind.LATE_EVENT:
        body = {
            "task": after.id,
            "kind": after.kind.value,
            "step": after.step,
            "visit": after.visit,
            "outcome": after.outcome,
            "by": request.actor.subject,
            "at": request.now.isoformat(),
            "reason": request.given.reason,
            "proposal": after.proposal_id,
            "delegation": delegation.id if delegation else "",
        }
        await inbox.insert_event(
            change.conn,
            change.case.tenant,
            source=inbox.TASK_SOURCE,
            event_id=after.id,
            case_id=change.case.id,
            inbox_seq=change.next_inbox_seq(),
            type_=TASK_COMPLETED,
            digest=request.digest,
            body_sealed=inbox.seal_body(cipher, inbox.TASK_SOURCE, after.id, body),
            accepted_from=request.actor.subject,
            now=request.now,
        )
    return after


async def _without_case(conn: Connection, cipher: Cipher, task_id: str, request: _Request) -> TaskView:
    """The task of a stray event: its own row is locked, its own chain has the entry."""
    tenant = request.actor.tenant
    await conn.execute(_LOCK_TASK, {"tenant": tenant, "id": task_id})
    before = await _done_before(conn, tenant, task_id, request)
    if before is not None:
        return before
    task = await get_task(conn, tenant, task_id)
    check_act(Standing(task, None, request.actor, request.act, request.given))
    after = _next(task, request)
    await update_task(conn, after)
    await _store_act(conn, cipher, after, request)
    said = _said(task, after, None, request, cipher, None)
    await append_entry(conn, tenant, task.scope, "task:act:recorded", request.actor, now=request.now, **said)
    return view_of(after)


async def _assigned(db: Database, keyring: Keyring, cipher: Cipher, task_id: str, request: _Request) -> TaskView:
    """A stray event is filed into the case that a person names: an entry on its chain, another on the case's."""
    tenant = request.actor.tenant
    async with db.transaction(tenant, snapshot=True) as conn:
        before = await _done_before(conn, tenant, task_id, request)
        if before is not None:
            return before
        task = await get_task(conn, tenant, task_id)
        check_act(Standing(task, None, request.actor, request.act, request.given))
        case = await stray_events.case_named(conn, tenant, request.given.changes)
        event = await stray_events.read_stray(conn, task, cipher)
    of_case = await keyring.cipher(tenant, case.id)
    filing = stray_events.seal_filing(event, of_case)
    async with db.transaction(tenant) as conn, change_case(conn, tenant, case.id, now=request.now) as change:
        await conn.execute(_LOCK_TASK, {"tenant": tenant, "id": task_id})
        request = replace(request, now=change.now)
        before = await _done_before(conn, tenant, task_id, request)
        if before is not None:
            change.unchanged()
            return before
        task = await get_task(conn, tenant, task_id)
        check_act(Standing(task, None, request.actor, request.act, request.given))
        after = _completed(task, request, stray_events.ASSIGNED)
        seq = await stray_events.file_event(change, filing)
        await update_task(conn, after)
        await _store_act(conn, cipher, after, request)
        said = _said(task, after, None, request, cipher, None)
        there = {"chain": task.scope, "type": event.row.type, "inbox_seq": seq, "documents": len(filing.documents)}
        change.record(
            "event:event:assigned",
            request.actor,
            cipher=of_case,
            body={"reason": request.given.reason},
            commitments={"event": event.canonical},
            detail={"task": task_id, **there},
            approval=said.get("approval"),
        )
        said["detail"] = {**said.get("detail", {}), "case": case.id, "inbox_seq": seq}
        await append_entry(conn, tenant, task.scope, "task:act:recorded", request.actor, now=request.now, **said)
    log.info("task.acted", tenant=tenant, task=task_id, act=request.act.value, status=after.status.value)
    return view_of(after)


_LOCK_TASK = text("SELECT id FROM task WHERE tenant = :tenant AND id = :id FOR NO KEY UPDATE")


def _next(task: TaskRow, request: _Request) -> TaskRow:
    """The task after an act that changes no proposal."""
    if request.act is TaskAct.CLAIM:
        return task.having(status=TaskStatus.CLAIMED, assignee=request.actor.subject)
    if request.act is TaskAct.RELEASE:
        return task.having(status=TaskStatus.OPEN, assignee="")
    return _completed(task, request, OUTCOMES[request.act])


def _completed(task: TaskRow, request: _Request, outcome: str) -> TaskRow:
    return task.having(
        status=TaskStatus.COMPLETED,
        outcome=outcome,
        completed_by=request.actor.subject,
        completed_at=request.now,
    )


async def _done_before(conn: Connection, tenant: str, task_id: str, request: _Request) -> TaskView | None:
    done = await stored_act(conn, tenant, task_id, request.key)
    if done is None:
        return None
    if done.request_digest != request.digest:
        raise Conflict(
            "task.key_used",
            "This Idempotency-Key was used for another act on the task.",
            "Use a new key for each act.",
        )
    return TaskView.model_validate(done.answer)


async def _store_act(conn: Connection, cipher: Cipher, after: TaskRow, request: _Request) -> None:
    answer = view_of(after).model_dump(mode="json")
    act = StoredAct(request.act, request.actor.subject, request.digest, answer, request.now)
    await insert_act(conn, cipher, after, request.key, act, request.given.reason)


def _said(
    task: TaskRow,
    after: TaskRow,
    proposal: ProposalRow | None,
    request: _Request,
    cipher: Cipher,
    delegation: Delegation | None,
) -> EntryFields:
    result = proposal.proposal.assessment.result if proposal else None
    detail = {"task": task.id, "kind": task.kind.value, "act": request.act.value, "status": after.status.value}
    if proposal is not None:
        detail["proposal"] = proposal.id
        detail["proposal_commitment"] = proposal.commitment
    body: dict[str, JsonValue] = {"reason": request.given.reason, "changes": request.given.changes}
    if delegation is not None:
        detail["delegation"] = delegation.id
        body["delegation"] = delegation.terms  # as they were used: the row is compared with them (store/reconcile.py)
    fields: EntryFields = {
        "cipher": cipher,
        "step": task.step,
        "visit": task.visit,
        "detail": detail,
        "body": body,
    }
    if request.act not in (TaskAct.CLAIM, TaskAct.RELEASE):
        fields["approval"] = EntryApproval(
            shown=task.digest,
            recommended=result.value if result else "",
            decided=after.outcome or EDITED,
            # Which case an event belongs to is nobody's recommendation.
            overridden=request.act is not TaskAct.APPROVE and task.kind is not TaskKind.STRAY_EVENT,
        )
    return fields


def view_of(task: TaskRow) -> TaskView:
    return TaskView(**{name: getattr(task, name) for name in TaskView.model_fields})
