"""/v1/cases/{case}/explanations: how a decision came about, as a letter in plain words for whom it is about.

Nothing in it is written for the occasion: it is put together from the decision as it was sent, the proposal that was
signed and the ledger. That it was given, and what it said, is an entry of the case.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy import text

from diwan.documents.content import Decision, Explanation, HeldFact, QuotedFact
from diwan.documents.typeset import render_letter
from diwan.domain.actor import Actor
from diwan.domain.decision import Proposal
from diwan.domain.errors import Conflict, NotFound
from diwan.domain.facts import Fact
from diwan.domain.ports import Cipher, RetentionClass
from diwan.procedures.schema import Procedure
from diwan.store.change import CaseRow, change_case
from diwan.store.connection import Connection
from diwan.store.decisions import decision_of
from diwan.store.erasures import refuse_erased
from diwan.store.letters import letters_of
from diwan.store.procedures import procedure_of
from diwan.store.tenants import calendar_for
from diwan.web.api.callers import Worker, visible_case
from diwan.web.api.documents import as_file
from diwan.web.dependencies import Dependencies, Deps

router = APIRouter(prefix="/v1/cases", tags=["letters"])

KIND = "case:explanation:given"
_PDF = "application/pdf"


@router.post(
    "/{case}/explanations",
    summary="How the decision came about, as a letter for the applicant",
    description="In the applicant's language. That it was given is on the case's ledger.",
    response_class=Response,
    responses={200: {"content": {_PDF: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def give(deps: Deps, actor: Worker, case: str) -> Response:
    content, pdf = await explain(deps, actor, case)
    return as_file(pdf, _PDF, f"{content.number.replace('/', '-')}.pdf")


async def explain(deps: Dependencies, actor: Actor, key: str) -> tuple[Explanation, bytes]:
    """The letter's content and its PDF, on record. Raises `NotFound` for a case that was not decided, `Conflict` where
    it changed meanwhile."""
    now = await deps.stamp(actor.tenant)
    async with deps.db.transaction(actor.tenant) as conn:
        found = await visible_case(conn, actor, key)
    cipher = await deps.cipher(actor.tenant, found.id)
    async with deps.db.transaction(actor.tenant, snapshot=True) as conn:
        decided = await _decided(conn, found, cipher)
        today = (await calendar_for(conn, actor.tenant, decided.procedure)).day_of(now)
    # The number of its entry is the letter's own.
    content = explanation_of(decided, number=f"{found.number}/{found.version + 1}", today=today)
    pdf = await render_letter(content)
    async with deps.db.transaction(actor.tenant) as conn, change_case(conn, actor.tenant, found.id, now=now) as change:
        await refuse_erased(conn, change.case, RetentionClass.DECISION)
        if change.case.version != found.version:
            raise Conflict("case.changed", "The case has changed meanwhile.", "Ask again.")
        change.record(
            *(KIND, actor),
            cipher=cipher,
            body=content.model_dump(mode="json"),
            commitments={"letter": pdf},
            purpose="explanation",
            detail={"decision": content.decision, "number": content.number, "language": content.language.value},
        )
    return content, pdf


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision as it was sent (`letter`), the proposal that was signed, how often a model's answer counted."""

    letter: Decision
    proposal: Proposal
    procedure: Procedure
    answers: int


async def _decided(conn: Connection, case: CaseRow, cipher: Cipher) -> Decided:
    of_case = (case.tenant, case.id)
    letters = [row for row in await letters_of(conn, *of_case, cipher) if row.kind == "decision" and row.content]
    decision = await decision_of(conn, *of_case, cipher)
    if not letters or decision is None:
        raise NotFound(
            "explanation.no_decision", "There is no decision of this case to explain.", "Ask when it is decided."
        )
    return Decided(
        Decision.model_validate(letters[-1].content),
        decision.proposal,
        await procedure_of(conn, case.tenant, case.procedure_hash),
        (await conn.execute(_ANSWERS, {"tenant": case.tenant, "case": case.id})).scalar_one(),
    )


_ANSWERS = text("SELECT count(*) FROM model_call WHERE tenant = :tenant AND case_id = :case AND used")


def explanation_of(decided: Decided, *, number: str, today: date) -> Explanation:
    """From what is recorded to what the letter says."""
    sent, language = decided.letter, decided.letter.language
    labels = {name: each.label.in_(language) for name, each in decided.procedure.facts.items()}
    labels |= {f"piece.{name}": each.label.in_(language) for name, each in decided.procedure.pieces.items()}
    same = ("language", "digits", "office", "place", "case_number", "procedure", "applicant", "reference", "sample")
    known = {labels[fact.name]: fact for fact in decided.proposal.facts if fact.name in labels}
    return Explanation(
        **{name: getattr(sent, name) for name in (*same, "notice", "result", "amount", "currency", "grounds", "agent")},
        date=today,
        number=number,
        decision=sent.number,
        decided_on=sent.date,
        facts=tuple(_quoted(held, known.get(held.label)) for held in sent.facts),
        asked=decided.answers,
        unfound=len(decided.proposal.rejected_claims),
        changed=tuple(labels[name] for name in decided.proposal.changed_by if name in labels),
        signatory=sent.signatory,
        contest=sent.contest,
    )


def _quoted(held: HeldFact, fact: Fact | None) -> QuotedFact:
    """With the words on the page, where the fact that counted is the one that the decision states."""
    same = fact is not None and fact.value == held.value
    return QuotedFact(
        **held.model_dump(),
        quote=fact.evidence.quote if fact is not None and same and fact.evidence else "",
        by_person=fact is not None and same and fact.by_person,
    )
