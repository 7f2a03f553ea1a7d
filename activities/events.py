"""The effect of each event of the inbox: taken once, in order, in the transaction that moves the cursor past it."""

from __future__ import annotations

from typing import Any

from activities.dossier import Dossier
from activities.moves import carry
from diwan.domain.actor import Role, system
from diwan.domain.case import CaseStatus, StepKind
from diwan.domain.event import APPLICATION_SUBMITTED, NOTIFICATION_RECEIVED, TASK_COMPLETED
from diwan.domain.task import TaskKind
from diwan.procedures.flow import Move, after_step, on_event
from diwan.store import inbox, notifications, tasks
from diwan.store.change import Change

# Asks nobody to do anything when it reaches a closed case.
_QUIET = frozenset({APPLICATION_SUBMITTED, TASK_COMPLETED, NOTIFICATION_RECEIVED})


async def take(change: Change, dossier: Dossier, event: inbox.InboxRow) -> None:
    """Consumes `event`, the next one, with its effect and one entry. Nothing that it says can make it unconsumable."""
    body = inbox.body_of(event, dossier.cipher)
    before = (change.state.step, change.state.visit)
    await inbox.consume(change, event, by="/".join(map(str, before)))
    moved = await _effect(change, dossier, event, body)
    change.record(
        "event:event:consumed",
        system(change.case.tenant, "worker"),
        cipher=dossier.cipher,
        detail={
            "inbox_seq": event.inbox_seq,
            "type": event.type,
            "moved": moved,
            "to": change.state.step,
            "to_visit": change.state.visit,
        },
    )


async def _effect(change: Change, dossier: Dossier, event: inbox.InboxRow, body: dict[str, Any]) -> bool:
    if event.type == NOTIFICATION_RECEIVED:
        if not await _received(change, dossier, event, body):
            await _late(change, dossier, event)  # of a letter that we never sent
        return False
    move = None if change.status is CaseStatus.CLOSED else _move(change, dossier, event, body)
    if event.type not in _QUIET and (move is None or _nobody_reads(dossier, move)):
        await _late(change, dossier, event)
    if move is None:
        return False
    await carry(change, dossier, move)
    return True


def _nobody_reads(dossier: Dossier, move: Move) -> bool:
    """Whether an event leaves the case where it is, past every step at which an agent would still read the dossier."""
    steps = dossier.procedure.steps
    stays = (move.state.step, move.state.visit) == (dossier.case.state.step, dossier.case.state.visit)
    return stays and any(steps[name].kind is StepKind.AGENT for name in move.state.visits if name in steps)


def _move(change: Change, dossier: Dossier, event: inbox.InboxRow, body: dict[str, Any]) -> Move | None:
    state = change.state
    if event.type != TASK_COMPLETED:
        return on_event(dossier.procedure, state, event.type, event.accepted_at, dossier.calendar)
    here = (body.get("step"), body.get("visit")) == (state.step, state.visit)
    if not here or change.case.kind is not StepKind.TASK:
        return None  # the case went elsewhere before this act was taken up; it is on record
    return after_step(dossier.procedure, state, str(body["outcome"]), dossier.view, event.accepted_at, dossier.calendar)


async def _received(change: Change, dossier: Dossier, event: inbox.InboxRow, body: dict[str, Any]) -> int:
    said = body.get("data", {})
    return await notifications.mark_received(
        change,
        dossier.cipher,
        letter=str(said.get("letter", "")),
        proof=str(said.get("proof", "")),
        at=event.accepted_at,
    )


async def _late(change: Change, dossier: Dossier, event: inbox.InboxRow) -> None:
    """An event for a closed case is work for a person, not lost and not acted on."""
    body = inbox.body_of(event, dossier.cipher)
    came = {row.id: row for row in dossier.documents}
    await tasks.open_task(
        change,
        dossier.cipher,
        kind=TaskKind.LATE_EVENT,
        step=change.state.step,
        visit=event.inbox_seq,  # each event its own task
        shown={
            "case": change.case.number,
            "event": {"type": event.type, "accepted_at": event.accepted_at.isoformat(), "inbox_seq": event.inbox_seq},
            "data": body.get("data"),
            "documents": [
                {"id": row.id, "name": row.name, "piece": row.piece, "status": row.status}
                for row in (came[id_] for id_ in body.get("documents", []) if id_ in came)
            ],
        },
        roles=[Role.CLERK, Role.SUPERVISOR],
        proposer="",
        proposal_id="",
        due_at=None,
    )
