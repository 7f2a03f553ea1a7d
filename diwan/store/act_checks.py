"""Who may do what with a task, checked under the case's lock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from diwan.domain.actor import Actor, Role
from diwan.domain.decision import Assessment
from diwan.domain.errors import Conflict, InvalidInput, Refused
from diwan.domain.facts import Provenance
from diwan.domain.task import ActInput, TaskAct, TaskKind, TaskStatus
from diwan.procedures.periods import calendar_of
from diwan.procedures.steps import APPROVED
from diwan.store.change import CaseRow
from diwan.store.connection import Connection
from diwan.store.delegations import Delegation, valid_delegation
from diwan.store.grants import GRANTS, promised_elsewhere
from diwan.store.procedures import Published
from diwan.store.proposals import ProposalRow
from diwan.store.tasks import TaskRow, tasks_of

_ALWAYS = {TaskAct.CLAIM, TaskAct.RELEASE}
_ACTS = {
    TaskKind.REVIEW: _ALWAYS | {TaskAct.APPROVE, TaskAct.EDIT, TaskAct.REJECT, TaskAct.RETURN},
    TaskKind.REQUEST_PIECES: _ALWAYS | {TaskAct.APPROVE, TaskAct.EDIT, TaskAct.REJECT, TaskAct.RETURN},
    TaskKind.SIGN: _ALWAYS | {TaskAct.APPROVE, TaskAct.REJECT, TaskAct.RETURN},
    TaskKind.LATE_EVENT: _ALWAYS | {TaskAct.APPROVE},
    TaskKind.STRAY_EVENT: _ALWAYS | {TaskAct.APPROVE, TaskAct.EDIT},
}
_REASONED = {TaskAct.EDIT, TaskAct.REJECT, TaskAct.RETURN}


@dataclass(frozen=True, slots=True)
class Standing:
    """A task with what an actor wants of it; `proposal` is the one that it shows."""

    task: TaskRow
    proposal: ProposalRow | None
    actor: Actor
    act: TaskAct
    given: ActInput


def check_act(standing: Standing) -> None:
    """Everything but the signature. Raises `Refused`, `Conflict` or `InvalidInput` with what to do instead."""
    _role(standing)
    _open(standing)
    if standing.act in _ALWAYS:
        return
    _shown(standing)
    if standing.act in _REASONED and not standing.given.reason.strip():
        raise InvalidInput("task.reason_required", f"To {standing.act.value} needs a reason.", "Give `reason`.")
    if standing.act is TaskAct.APPROVE:
        _four_eyes(standing)
        _determined(standing)


def _role(standing: Standing) -> None:
    task, actor = standing.task, standing.actor
    if standing.act not in _ACTS[task.kind]:
        raise Refused(
            "task.act_not_possible",
            f"A task of kind {task.kind.value} cannot be answered with {standing.act.value}.",
            f"Possible: {', '.join(sorted(act.value for act in _ACTS[task.kind]))}.",
        )
    releases = standing.act is TaskAct.RELEASE and actor.has(Role.SUPERVISOR)
    signs = task.kind is not TaskKind.SIGN or actor.has(Role.AUTHORITY)
    if not releases and not (actor.has(*task.roles) and signs):
        raise Refused(
            "task.role_missing",
            f"This task is for: {', '.join(role.value for role in task.roles)}.",
            "Leave it to someone who has one of these roles.",
        )


def _open(standing: Standing) -> None:
    task, actor = standing.task, standing.actor
    if not task.live:
        raise Conflict("task.not_open", f"The task is {task.status.value}.", "See the worklist: `diwan task list`.")
    mine = task.assignee == actor.subject
    if standing.act is TaskAct.RELEASE:
        if task.status is TaskStatus.OPEN:
            raise Conflict("task.not_claimed", "Nobody has claimed the task.", "There is nothing to release.")
        mine = mine or actor.has(Role.SUPERVISOR)
    if task.status is TaskStatus.CLAIMED and not mine:
        raise Conflict(
            "task.claimed_by_other",
            "Another person has claimed the task.",
            "Ask them, or a supervisor, to release it.",
        )


def _shown(standing: Standing) -> None:
    if standing.given.digest != standing.task.digest:
        raise Conflict(
            "task.shown_digest_differs",
            "What you were shown is not what the task shows now.",
            "Look at the task again and send its digest.",
        )


def _four_eyes(standing: Standing) -> None:
    proposers = {standing.task.proposer}
    if standing.proposal is not None:
        # Not only the last one: whoever's change is still in it, through whatever was edited or examined after it.
        proposers |= {standing.proposal.proposer, *standing.proposal.proposal.editors}
    if standing.actor.subject in proposers:
        raise Refused(
            "task.four_eyes",
            "Who made or edited a proposal does not approve or sign it.",
            f"Leave it to another person ({', '.join(role.value for role in standing.task.roles)}). Where nobody else "
            "is left: once another editor has entered anew what you changed, you may approve it.",
        )


def _determined(standing: Standing) -> None:
    if standing.task.kind not in (TaskKind.REVIEW, TaskKind.SIGN):
        return
    if standing.proposal is None:
        raise Refused("task.no_proposal", "There is no proposal to approve.", "Edit the task to make one.")
    assessment = standing.proposal.proposal.assessment
    if assessment.result is None:
        raise Refused(
            "task.undetermined",
            "The result is still open: a person has to establish what is unknown or in conflict.",
            _to_determine(standing.task, assessment),
        )


def _to_determine(task: TaskRow, assessment: Assessment) -> str:
    if task.kind is TaskKind.SIGN:
        return "Return the task with your reason."
    wanted = ", ".join(_to_set(assessment))
    establish = f"Edit the task and set: {wanted}; or set `result`" if wanted else "Edit the task and set `result`"
    return f"{establish}; another person then approves. Or return it with your reason."


def _to_set(assessment: Assessment) -> list[str]:
    """Names for `changes` of an edit, in the order of the assessment."""
    return [
        *assessment.unknown,
        *(conflict.fact for conflict in assessment.conflicts),
        *(f"piece.{piece}" for piece in assessment.missing_pieces),
    ]


async def check_signature(
    conn: Connection, standing: Standing, case: CaseRow, procedure: Published, now: datetime
) -> Delegation | None:
    """The delegation under which a decision is signed; None for other acts. Raises `Refused` where there is none.

    It must hold on the day of signing, in the office's calendar, for this procedure, result and amount.
    """
    if standing.task.kind is not TaskKind.SIGN or standing.act is not TaskAct.APPROVE:
        return None
    assert standing.proposal is not None, "check_act demands a determined proposal"
    assessment = standing.proposal.proposal.assessment
    assert assessment.result is not None
    await _signer_did_not_review(conn, standing)
    await _register_says_the_same(conn, standing, case)
    today = calendar_of(procedure.procedure).day_of(now)
    found = await valid_delegation(
        conn,
        standing.task.tenant,
        standing.actor.subject,
        procedure.name,
        assessment.result,
        assessment.amount,
        on=today,
    )
    if found is None:
        raise Refused(
            "task.no_delegation",
            "No delegation valid today lets this person sign this result and amount of this procedure.",
            "Leave it to an authority who has one.",
        )
    return found


async def _signer_did_not_review(conn: Connection, standing: Standing) -> None:
    """The last approval of each review counts: any earlier one would bar an office's only authority for ever."""
    assert standing.task.case_id is not None
    before = await tasks_of(conn, standing.task.tenant, standing.task.case_id)
    reviews = (task for task in before if task.kind is TaskKind.REVIEW and task.outcome == APPROVED)
    approved_by = {task.step: task.completed_by for task in reviews}
    if standing.actor.subject in approved_by.values():
        raise Refused(
            "task.four_eyes",
            "Who approved the proposal does not sign the decision.",
            "Leave it to another authority. Where there is none: return it, and have another person approve it.",
        )


async def _register_says_the_same(conn: Connection, standing: Standing, case: CaseRow) -> None:
    """A grant signed since the dossier was examined, in another case of the same person, counts before this one."""
    assert standing.proposal is not None
    relied_on = any(
        fact.provenance is Provenance.REGISTRY and fact.value is False for fact in standing.proposal.proposal.facts
    )
    grants = standing.proposal.proposal.assessment.result in GRANTS
    if grants and relied_on and await promised_elsewhere(conn, case):
        raise Refused(
            "task.register_changed",
            "Since the dossier was examined, another case of this person has come to a signed decision.",
            "Return the task, and have who reviews it return it too: so the dossier is examined anew.",
        )
