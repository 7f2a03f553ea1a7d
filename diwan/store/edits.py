"""An edit: a person's facts, pieces or result make a new revision of the proposal, shown anew to another person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict

from pydantic import JsonValue

from diwan.domain.actor import Actor
from diwan.domain.case import Result
from diwan.domain.decision import Assessment, Proposal
from diwan.domain.errors import InvalidInput, Refused
from diwan.domain.facts import Fact, Provenance
from diwan.domain.ports import Cipher
from diwan.domain.task import TaskStatus, with_supervisor
from diwan.procedures.assess import assess
from diwan.procedures.periods import calendar_of
from diwan.procedures.schema import Procedure
from diwan.procedures.values import read_value
from diwan.store.act_checks import Standing
from diwan.store.change import Change
from diwan.store.documents import QUARANTINED, UNREADABLE, DocumentRow, documents_of
from diwan.store.facts import store_facts
from diwan.store.proposals import make_proposal
from diwan.store.tasks import TaskRow, seal_shown, shown_of

RESULT_SET = "result_set_by_person"

_PIECE = "piece."
_RESULT = "result"
_AMOUNT = "amount"


async def revise(change: Change, cipher: Cipher, standing: Standing, procedure: Procedure) -> TaskRow:
    """Makes the revision and gives the task that shows it: open, with a new digest, for another person.

    Raises `Refused` where the task shows no proposal, `InvalidInput` for a change that the procedure does not know.
    """
    if standing.proposal is None:
        raise Refused("task.no_proposal", "This task shows no proposal that could be edited.", "Return it instead.")
    conn, tenant, case = change.conn, change.case.tenant, change.case.id
    before, wanted = standing.proposal.proposal, standing.given.changes
    if not wanted:
        raise InvalidInput("task.no_changes", "An edit changes something.", "Give `changes`.")
    facts = _facts(procedure, wanted, standing.actor, change.now)
    await store_facts(conn, tenant, case, facts, cipher, version=change.version, now=change.now)
    change.brought(facts=len(facts))
    # From what was shown, not from all that was ever read: an earlier reading may be superseded.
    entered = {fact.name for fact in facts}
    known = [fact for fact in before.facts if not (fact.by_person and fact.name in entered)] + facts
    came = await documents_of(conn, tenant, case, cipher)
    pieces = _pieces(procedure, before.pieces, wanted, came)
    unreadable = [document.id for document in came if document.status == UNREADABLE]
    ruled = assess(procedure, known, pieces, unreadable, pieces_requested=change.state.pieces_requested)
    assessment = _overridden(procedure, ruled, wanted, standing.given.reason)
    proposal = Proposal(
        proposer=standing.actor.subject,
        assessment=assessment,
        facts=known,
        pieces=pieces,
        summary=before.summary,
        warnings=_warnings(before.warnings, overridden=assessment != ruled),
        rejected_claims=before.rejected_claims,
        **_hands(before, wanted, standing.actor),
    )
    made = await make_proposal(conn, tenant, case, proposal, cipher, now=change.now)
    shown: dict[str, Any] = shown_of(standing.task, cipher)
    shown.pop("salt")
    sealed, digest = seal_shown(cipher, standing.task.id, {**shown, "proposal": proposal.model_dump(mode="json")})
    return standing.task.having(
        status=TaskStatus.OPEN,
        assignee="",
        proposer=standing.actor.subject,
        proposal_id=made.id,
        roles=with_supervisor(standing.task.roles),
        shown_sealed=sealed,
        digest=digest,
    )


class _Hands(TypedDict):
    editors: list[str]
    changed_by: dict[str, str]


def _hands(before: Proposal, wanted: Mapping[str, JsonValue], actor: Actor) -> _Hands:
    """Whose changes are in the revision. What is entered anew is no longer its first editor's, who may then approve:
    else an office of two, of whom one put the other's slip right, could never end the case."""
    # A result that a person set holds for one revision: the next edit has the rules' own, or sets it again.
    kept = {name: whose for name, whose in before.changed_by.items() if name not in (_RESULT, _AMOUNT)}
    changed_by = kept | dict.fromkeys(wanted, actor.subject)
    unnamed = [editor for editor in before.editors if editor not in before.changed_by.values()]
    return {"editors": list(dict.fromkeys([*unnamed, *changed_by.values()])), "changed_by": changed_by}


def lacks_pieces(task: TaskRow, cipher: Cipher) -> bool:
    """Whether the proposal that a task shows still lacks a piece, or has one that nobody could read."""
    assessment = Assessment.model_validate(shown_of(task, cipher)["proposal"]["assessment"])
    return bool(assessment.missing_pieces or assessment.unreadable_pieces)


def _facts(procedure: Procedure, wanted: Mapping[str, JsonValue], actor: Actor, now: datetime) -> list[Fact]:
    today = calendar_of(procedure).day_of(now)
    found: list[Fact] = []
    for name, value in wanted.items():
        if name in (_RESULT, _AMOUNT) or name.startswith(_PIECE):
            continue
        declared = procedure.facts.get(name)
        if declared is None:
            raise _unknown(sorted(procedure.facts))
        try:
            read = read_value(declared.type, value)
        except InvalidInput as error:
            raise InvalidInput(error.code, f"Fact `{name}`: {error.message}", error.remedy) from None
        found.append(
            Fact(
                name=name,
                value=read,
                provenance=Provenance.DOCUMENT,
                as_of=today,
                established_by=actor.subject,
                by_person=True,
            )
        )
    return found


def _pieces(
    procedure: Procedure, before: Mapping[str, str], wanted: Mapping[str, JsonValue], came: Sequence[DocumentRow]
) -> dict[str, str]:
    usable = {document.id for document in came if document.status != QUARANTINED}
    pieces = dict(before)
    for name, value in wanted.items():
        if not name.startswith(_PIECE):
            continue
        piece = name.removeprefix(_PIECE)
        if piece not in procedure.pieces:
            raise _unknown([f"{_PIECE}{each}" for each in procedure.pieces])
        if value in (None, ""):
            pieces.pop(piece, None)
        elif isinstance(value, str) and value in usable:
            pieces[piece] = value
        else:
            raise InvalidInput("task.document_unknown", f"`{name}` names no usable document of the case.", "See them.")
    return pieces


def _overridden(procedure: Procedure, ruled: Assessment, wanted: Mapping[str, JsonValue], reason: str) -> Assessment:
    """The assessment with the result and amount that a person sets, whose reason is then the ground of the decision."""
    if _RESULT not in wanted and _AMOUNT not in wanted:
        return ruled
    result, amount = ruled.result, ruled.amount
    if _RESULT in wanted:
        try:
            result = Result(str(wanted[_RESULT]))
        except ValueError:
            raise InvalidInput("task.result_unknown", "`result` is not a result of a case.", _results()) from None
        amount = amount if result is ruled.result else None
    if _AMOUNT in wanted:
        given = wanted[_AMOUNT]
        if isinstance(given, bool) or not isinstance(given, int) or given < 0:
            raise InvalidInput("task.amount_not_whole", "`amount` is a whole number from 0.", "Give it without cents.")
        amount = given
    if amount is None and any(each.amount is not None for each in procedure.outcomes.values() if each.result is result):
        raise InvalidInput("task.amount_missing", "This result comes with an amount.", "Set `amount` as well.")
    if (result, amount) == (ruled.result, ruled.amount):
        return ruled
    return ruled.model_copy(update={"result": result, "amount": amount, "grounds": [], "stated_ground": reason.strip()})


def _warnings(before: Sequence[str], *, overridden: bool) -> list[str]:
    kept = [warning for warning in before if warning != RESULT_SET]
    return [*kept, RESULT_SET] if overridden else kept


def _unknown(known: Sequence[str]) -> InvalidInput:
    # The name that was sent is not repeated: it may be anything.
    return InvalidInput(
        "task.change_unknown", "A name in `changes` is none that can be changed.", f"There are: {', '.join(known)}."
    )


def _results() -> str:
    return f"One of: {', '.join(result.value for result in Result)}."
