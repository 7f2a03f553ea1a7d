"""Carries a procedure's move into the case's row, under its lock, with the task that it opens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import JsonValue

from activities.dossier import Dossier
from diwan.domain.case import CaseState, CaseStatus, Plan, StepKind
from diwan.domain.task import TaskKind, with_supervisor
from diwan.procedures.flow import Move
from diwan.procedures.steps import TaskStep
from diwan.procedures.urgency import priority
from diwan.store import outbox, runs, tasks
from diwan.store.cases import contents_of
from diwan.store.change import CaseRow, Change

CASE_CLOSED = "diwan.case.closed"


def plan_of(case: CaseRow, now: datetime) -> Plan:
    """What comes next for a case, as its row says, and how urgent it is at `now`."""
    return Plan(
        version=case.version,
        cursor=case.inbox_cursor,
        step=case.state.step,
        visit=case.state.visit,
        kind=case.kind,
        wake_at=case.wake_at,
        blocked=case.blocked,
        priority=priority(case.state.rises, now),
    )


async def carry(change: Change, dossier: Dossier, move: Move) -> None:
    """Writes the move into the change: state, plan, status; cancels what it leaves behind, opens the task it enters.

    `dossier` must be as of this change (read under its lock), with the proposal that a task would show.
    """
    left = change.state
    entered = (left.step, left.visit) != (move.state.step, move.state.visit)
    if entered and change.case.kind is StepKind.AGENT:
        await runs.cancel_run(change, left.step, left.visit)
    if move.cancel_tasks:
        await tasks.cancel_open_tasks(change)
    change.state = move.state
    change.blocked = ""
    change.status = move.status
    change.plan(move.kind, move.wake_at)
    if move.kind is StepKind.END:
        change.closed(change.now, await contents_of(change.conn, change.case.tenant, change.case.id))
        await _announce_end(change, move)
    elif entered and move.kind is StepKind.TASK:
        await open_step_task(change, dossier, move)


async def open_step_task(change: Change, dossier: Dossier, move: Move) -> None:
    """The human task of a step: what it shows is the latest proposal, in the words of the procedure."""
    step = dossier.procedure.steps[move.state.step]
    assert isinstance(step, TaskStep)
    proposer = dossier.proposal.proposer if dossier.proposal else ""
    roles = step.roles
    if dossier.proposal and dossier.proposal.editors and step.task != TaskKind.SIGN:
        roles = with_supervisor(roles)
    await tasks.open_task(
        change,
        dossier.cipher,
        kind=TaskKind(step.task),
        step=move.state.step,
        visit=move.state.visit,
        shown=shown(dossier, move.state),
        roles=roles,
        proposer=proposer,
        proposal_id=dossier.proposal_id,
        due_at=move.due_at,
    )


def shown(dossier: Dossier, state: CaseState) -> dict[str, JsonValue]:
    """What a person is shown and answers for: the case, the step, the proposal with its evidence and warnings."""
    proposal: JsonValue = dossier.proposal.model_dump(mode="json") if dossier.proposal else None
    return {
        "case": dossier.case.number,
        "procedure": {"name": dossier.procedure.name, "version": dossier.procedure.version},
        "title": dossier.procedure.title.model_dump(),
        "step": {"name": state.step, "label": dossier.procedure.steps[state.step].label.model_dump()},
        "flags": list(state.flags),
        "proposal": proposal,
    }


async def _announce_end(change: Change, move: Move) -> None:
    result = move.state.result.value if move.state.result else ""
    await announce(change, CASE_CLOSED, {"status": CaseStatus.CLOSED.value, "result": result})


async def announce(change: Change, type_: str, data: Mapping[str, JsonValue]) -> None:
    """Enqueues a CloudEvent for the tenant's webhooks: ids and states, never personal data."""
    case = change.case
    key = f"{case.id}/{change.version}"
    payload: dict[str, JsonValue] = {
        "specversion": "1.0",
        "id": f"{key}/{type_}",
        "source": f"diwan:{case.tenant}",
        "type": type_,
        "subject": case.number,
        "time": change.now.isoformat(),
        "datacontenttype": "application/json",
        "data": {"case": case.id, "number": case.number, "procedure": case.procedure, **data},
    }
    if case.traceparent:
        payload["traceparent"] = case.traceparent
    sent = await outbox.enqueue_outbox(change.conn, case.tenant, case.id, type_, payload, key=key, now=change.now)
    change.announced(len(sent))
