"""From an examination to what is established, and what a clerk should look at. Pure, and the same every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from pydantic import BaseModel, ConfigDict, Field

from agents.claims import Dossier, RejectedClaim, check_claims, comparable
from agents.dossier import INSTRUCTION_SUSPECTED, SubmittedDocument, short_names
from agents.examiner import UNKNOWN, Concern, ConcernCode, Examination
from diwan.domain.facts import Fact, PageText
from diwan.procedures.schema import Procedure


class Conclusion(BaseModel):
    """What an examination comes to. `pieces` and `unreadable` are for the procedure's `assess`.

    `warnings` are machine names with no personal data (`instruction_suspected`, `values_differ.price`);
    `concerns` and `summary` are the examiner's own words.
    """

    model_config = ConfigDict(frozen=True)

    facts: list[Fact] = Field(default_factory=list[Fact])
    pieces: dict[str, str] = Field(description="piece name → document id")
    unreadable: list[str] = Field(description="names of pieces of which only an unreadable document came")
    rejected: list[RejectedClaim] = Field(default_factory=list[RejectedClaim])
    concerns: list[Concern] = Field(default_factory=list[Concern])
    warnings: list[str]
    summary: str = ""

    @property
    def rejected_claims(self) -> list[str]:
        """Names of facts of which a claim was rejected, in order, once each."""
        return list(dict.fromkeys(claim.fact for claim in self.rejected if claim.fact))


def conclude(
    procedure: Procedure,
    examination: Examination,
    documents: Sequence[SubmittedDocument],
    pages: Sequence[PageText],
    known: Sequence[Fact],
    *,
    as_of: date,
    established_by: str,
) -> Conclusion:
    """Check an examination against the dossier it was made of.

    `documents` in the order of the run; `pages` are those that claims cite, at least; `known` are facts declared or
    from registers, which are compared and not repeated; `as_of` is the day the documents were read.
    """
    names = short_names(documents)
    kinds = {
        reading.document: reading.piece
        for reading in examination.documents
        if reading.document in names and not names[reading.document].unreadable and reading.piece in procedure.pieces
    }
    facts, rejected = check_claims(
        procedure, examination.claims, Dossier(names, kinds, pages), as_of=as_of, established_by=established_by
    )
    pieces = _pieces(procedure, names, kinds)
    warnings = [
        *_suspicions(documents, examination),
        *(f"concern.{code.value}" for code in _codes(examination) if code is not ConcernCode.INSTRUCTION_IN_DOCUMENT),
        *_unrecognised(procedure, names, kinds),
        *(f"{claim.why.value}.{claim.fact}" for claim in rejected if claim.fact),
        *_differences(facts, known),
    ]
    return Conclusion(
        facts=facts,
        pieces=pieces,
        unreadable=_unreadable(procedure, documents, pieces),
        rejected=rejected,
        concerns=list(examination.concerns),
        warnings=list(dict.fromkeys(warnings)),
        summary=examination.summary,
    )


def declared_only(procedure: Procedure, documents: Sequence[SubmittedDocument]) -> Conclusion:
    """What stands when no agent could read the dossier: the pieces are what their sender says, no fact is shown."""
    names = short_names(documents)
    kinds = {
        name: document.piece
        for name, document in names.items()
        if document.piece in procedure.pieces and not document.unreadable
    }
    pieces = _pieces(procedure, names, kinds)
    return Conclusion(
        pieces=pieces,
        unreadable=_unreadable(procedure, documents, pieces),
        warnings=[*_suspicions(documents, None), *_unrecognised(procedure, names, kinds)],
    )


def _pieces(procedure: Procedure, names: Mapping[str, SubmittedDocument], kinds: Mapping[str, str]) -> dict[str, str]:
    """Of two documents of one piece the later counts: it was sent to mend the first."""
    latest = {kinds[name]: document.id for name, document in names.items() if name in kinds}
    return {piece: latest[piece] for piece in procedure.pieces if piece in latest}


def _unreadable(procedure: Procedure, documents: Sequence[SubmittedDocument], pieces: Mapping[str, str]) -> list[str]:
    failed = {document.piece for document in documents if document.unreadable}
    return [piece for piece in procedure.pieces if piece in failed and piece not in pieces]


def _codes(examination: Examination) -> list[ConcernCode]:
    raised = {concern.code for concern in examination.concerns}
    return [code for code in ConcernCode if code in raised]


def _suspicions(documents: Sequence[SubmittedDocument], examination: Examination | None) -> list[str]:
    """Either the extractor's patterns or the examiner itself saw a document that speaks to the agent."""
    flagged = any(INSTRUCTION_SUSPECTED in document.flags for document in documents)
    seen = examination is not None and ConcernCode.INSTRUCTION_IN_DOCUMENT in _codes(examination)
    return [INSTRUCTION_SUSPECTED] if flagged or seen else []


def _unrecognised(procedure: Procedure, names: Mapping[str, SubmittedDocument], kinds: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for name, document in names.items():
        if document.unreadable:
            found.append(f"unreadable.{document.piece if document.piece in procedure.pieces else UNKNOWN}")
        elif document.piece in procedure.pieces and kinds.get(name) != document.piece:
            found.append(f"piece_not_recognised.{document.piece}")
    return found


def _differences(facts: Sequence[Fact], known: Sequence[Fact]) -> list[str]:
    shown = {fact.name: fact.value for fact in facts}
    return [
        f"differs_from_{fact.provenance.value}.{fact.name}"
        for fact in known
        if fact.name in shown and comparable(fact.value) != comparable(shown[fact.name])
    ]
