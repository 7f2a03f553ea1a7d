"""What each letter says, from the dossier: pure, in the applicant's language. The setting is diwan/documents' work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from activities.dossier import Dossier
from diwan.documents import content
from diwan.domain.decision import Proposal
from diwan.domain.errors import NeedsPerson
from diwan.domain.facts import Fact
from diwan.domain.tenant import TenantSettings
from diwan.procedures import periods
from diwan.procedures.assess import ground_text, weigh
from diwan.procedures.receipt import receipt_facts
from diwan.procedures.steps import LetterKind, Period, WaitStep
from diwan.store.letters import LetterRow

Letter = content.Letter


@dataclass(frozen=True)
class Signature:
    """The act by which the competent authority signed."""

    subject: str
    delegation_id: str
    delegation_reference: str
    signed_at: datetime


@dataclass(frozen=True)
class Occasion:
    """What a letter needs beside the dossier. `code` is what it can be checked by; `model` is empty where no model's
    answer was used."""

    tenant: TenantSettings
    now: datetime
    number: str
    code: str = ""
    signature: Signature | None = None
    model: str = ""
    rules_only: bool = False
    edited: bool = False


def compose(kind: LetterKind, dossier: Dossier, occasion: Occasion) -> Letter:
    """The content of the letter that a step issues. Raises `NeedsPerson` for a decision that nobody signed."""
    common = _common(dossier, occasion)
    if kind is LetterKind.RECEIPT:
        return _receipt(dossier, occasion, common)
    if kind is LetterKind.REQUEST_FOR_PIECES:
        return _request(dossier, occasion, common)
    if kind is LetterKind.WITHDRAWAL:
        return content.Withdrawal(**common, received_on=dossier.calendar.day_of(occasion.now))
    return _decision(dossier, occasion, common)


def _common(dossier: Dossier, occasion: Occasion) -> dict[str, Any]:
    language, tenant, procedure = dossier.language, occasion.tenant, dossier.procedure
    person = dossier.applicant
    return {
        "language": language,
        "digits": content.Digits(tenant.digits),
        "office": content.Office(
            name=procedure.office.in_(language), address=tenant.address.in_(language), contact=tenant.contact
        ),
        "place": tenant.place.in_(language),
        "date": dossier.calendar.day_of(occasion.now),
        "number": occasion.number,
        "case_number": dossier.case.number,
        "procedure": procedure.title.in_(language),
        "applicant": content.Addressee(
            name=person.name, address=person.address, identity_number=person.identity_number
        ),
        "reference": dossier.case.reference,
        "sample": tenant.sample,
        "notice": procedure.notice.in_(language) if procedure.notice else "",
        "code": occasion.code,
        "check_at": tenant.letters_checked_at,
    }


def _contest(dossier: Dossier) -> content.Contest:
    language, appeal = dossier.language, dossier.procedure.appeal
    ways = {
        name: content.Remedy(to=way.to.in_(language), days=way.days, text=way.text.in_(language))
        for name, way in (("administrative", appeal.administrative), ("court", appeal.court))
    }
    return content.Contest(**ways)


def _receipt(dossier: Dossier, occasion: Occasion, common: dict[str, Any]) -> content.Receipt:
    language = dossier.language
    brought = {document.piece for document in dossier.submitted() if document.piece}
    unnamed = sum(not document.piece for document in dossier.submitted())
    facts = receipt_facts(dossier.procedure, dossier.case.state, brought, occasion.now)
    pieces = [
        dossier.procedure.pieces[name].label.in_(language) for name in dossier.procedure.pieces if name in brought
    ]
    return content.Receipt(
        **common,
        received_on=facts.received_on,
        pieces=tuple(pieces),
        unnamed=unnamed,
        # What the sender did not name may be any piece: only reading it tells what is missing.
        missing=None if unnamed else tuple(_piece(dossier, piece.name) for piece in facts.missing),
        decision_due_on=facts.decision_due_on,
        silence=facts.silence.in_(language) if facts.silence else "",
        contest=_contest(dossier),
    )


def _piece(dossier: Dossier, name: str) -> content.Piece:
    piece = dossier.procedure.pieces[name]
    return content.Piece(
        label=piece.label.in_(dossier.language), hint=piece.hint.in_(dossier.language) if piece.hint else ""
    )


def _request(dossier: Dossier, occasion: Occasion, common: dict[str, Any]) -> content.RequestForPieces:
    language, procedure = dossier.language, dossier.procedure
    assessment = _proposal(dossier).assessment
    asked = [(name, content.WhyAsked.MISSING) for name in assessment.missing_pieces]
    asked += [(name, content.WhyAsked.UNREADABLE) for name in assessment.unreadable_pieces]
    period = _pieces_period(dossier)
    return content.RequestForPieces(
        **common,
        pieces=tuple(
            content.AskedPiece(label=procedure.pieces[name].label.in_(language), why=why) for name, why in asked
        ),
        until=periods.start(period, occasion.now, dossier.calendar).due_on,
        suspended_on=dossier.calendar.day_of(occasion.now),
        effect=period.silence.text.in_(language) if period.silence else "",
    )


def _pieces_period(dossier: Dossier) -> Period:
    """The period of the wait step that follows the request."""
    procedure = dossier.procedure
    following = procedure.steps[procedure.steps[dossier.case.state.step].next[0].to]
    if not isinstance(following, WaitStep):
        raise NeedsPerson("procedure.no_period", "The step after the request for pieces awaits nothing.")
    return procedure.periods[following.period]


def compose_reminder(
    dossier: Dossier, occasion: Occasion, step: WaitStep, written: Sequence[LetterRow]
) -> content.Reminder:
    """A second word on the latest request for pieces among the letters `written`; `NeedsPerson` where there is none."""
    requests = [row for row in written if row.kind == LetterKind.REQUEST_FOR_PIECES]
    if not requests:
        raise NeedsPerson("procedure.no_request", "The applicant was to be reminded of what nobody asked for.")
    request = content.RequestForPieces.model_validate(requests[-1].content)
    return content.Reminder(
        **_common(dossier, occasion),
        request=request.number,
        asked_on=request.date,
        pieces=request.pieces,
        until=dossier.case.state.periods[step.period].due_on,
        effect=request.effect,
    )


def _decision(dossier: Dossier, occasion: Occasion, common: dict[str, Any]) -> content.Decision:
    language, procedure = dossier.language, dossier.procedure
    signature = occasion.signature
    proposal = _proposal(dossier)
    assessment = proposal.assessment
    if signature is None or assessment.result is None:
        raise NeedsPerson("decision.unsigned", "A decision was to be issued that nobody signed.", "Return it.")
    signatory = occasion.tenant.signatories.get(signature.subject)
    if signatory is None:
        raise NeedsPerson(
            "tenant.signatory_unknown", "The authority that signed has no name in the ministry's settings.", "Add it."
        )
    grounds = [
        content.StatedGround(
            text=ground_text(procedure, ground, proposal.facts, language),
            legal_basis=procedure.ground(ground).legal_basis.in_(language),
        )
        for ground in assessment.grounds
    ]
    if assessment.stated_ground:
        grounds.append(content.StatedGround(text=assessment.stated_ground))
    return content.Decision(
        **common,
        result=assessment.result,
        amount=assessment.amount,
        currency=procedure.currency,
        grounds=tuple(grounds),
        facts=tuple(_held(dossier, fact) for fact in weigh(procedure, proposal.facts).facts.values()),
        legal_basis=tuple(text.in_(language) for text in procedure.legal_basis),
        agent=_agent_part(occasion),
        signatory=content.Signatory(
            name=signatory.name.in_(language),
            title=signatory.title.in_(language),
            delegation=signature.delegation_reference,
        ),
        contest=_contest(dossier),
    )


def _agent_part(occasion: Occasion) -> content.AgentPart | None:
    if not occasion.model:
        return None
    return content.AgentPart(model=occasion.model, rules_only=occasion.rules_only, edited=occasion.edited)


def _held(dossier: Dossier, fact: Fact) -> content.HeldFact:
    language, procedure = dossier.language, dossier.procedure
    document = next((row for row in dossier.documents if fact.evidence and row.id == fact.evidence.document), None)
    piece = procedure.pieces.get(document.piece) if document else None
    return content.HeldFact(
        label=procedure.facts[fact.name].label.in_(language),
        value=fact.value,
        currency=procedure.currency if procedure.facts[fact.name].currency else "",
        provenance=fact.provenance,
        document=piece.label.in_(language) if piece else "",
        page=fact.evidence.page if fact.evidence else None,
        as_of=fact.as_of,
    )


def _proposal(dossier: Dossier) -> Proposal:
    if dossier.proposal is None:
        raise NeedsPerson("case.no_proposal", "There is nothing to write about yet.", "Examine the dossier first.")
    return dossier.proposal
