"""All that is known of a case, opened: what activities decide on. Personal data; never leaves the process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agents.dossier import SubmittedDocument, short_names
from agents.examiner import Quote
from diwan.domain.decision import Proposal
from diwan.domain.errors import NotFound
from diwan.domain.facts import Fact, PageText, Provenance
from diwan.domain.party import Party, PartyRole
from diwan.domain.ports import Cipher
from diwan.domain.text import Language
from diwan.procedures.assess import view_of
from diwan.procedures.periods import Calendar
from diwan.procedures.schema import Procedure
from diwan.store import documents, facts, parties, procedures, proposals, tenants
from diwan.store.change import CaseRow
from diwan.store.connection import Connection

QUARANTINED = "quarantined"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Dossier:
    """A case as it stood when it was read; `proposal` is the latest, if there is one."""

    case: CaseRow
    procedure: Procedure
    calendar: Calendar
    cipher: Cipher
    facts: list[Fact]
    documents: list[documents.DocumentRow]
    parties: list[Party]
    proposal: Proposal | None
    proposal_id: str

    @property
    def language(self) -> Language:
        return Language(self.case.language)

    @property
    def identity_number(self) -> str:
        """The applicant's own number as the form gives it; empty where the procedure does not ask for it."""
        declared = (f for f in self.facts if f.name == "identity_number" and f.provenance is Provenance.DECLARED)
        return next((str(fact.value) for fact in declared), "")

    def submitted(self) -> list[SubmittedDocument]:
        """The documents that may be read, in the order they came."""
        return submitted(self.documents)

    @property
    def applicant(self) -> Party:
        """The first party with the applicant's role; intake refuses applications without one."""
        return next(party for party in self.parties if party.role is PartyRole.APPLICANT)

    @property
    def view(self) -> dict[str, object]:
        """What the guards of transitions see."""
        return dict(view_of(self.proposal.assessment)) if self.proposal else {}


class _Received(Protocol):
    """What is known of a document without opening it."""

    @property
    def id(self) -> str: ...
    @property
    def pages(self) -> int: ...
    @property
    def piece(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def flags(self) -> Sequence[str]: ...


def submitted(received: Sequence[_Received]) -> list[SubmittedDocument]:
    """The documents that may be read, as an agent sees them."""
    return [
        SubmittedDocument(
            id=row.id,
            pages=row.pages,
            piece=row.piece,
            unreadable=row.status == UNREADABLE,
            flags=tuple(row.flags),
        )
        for row in received
        if row.status != QUARANTINED
    ]


async def read_dossier(conn: Connection, case: CaseRow, cipher: Cipher) -> Dossier:
    """Opens a case within the transaction of `conn`; under its lock if that is held."""
    procedure = await procedures.procedure_of(conn, case.tenant, case.procedure_hash)
    people = await parties.parties_of(conn, case.tenant, case.id, cipher)
    try:
        latest = await proposals.latest_proposal(conn, case.tenant, case.id, cipher)
    except NotFound:
        latest = None
    return Dossier(
        case=case,
        procedure=procedure,
        calendar=await tenants.calendar_for(conn, case.tenant, procedure),
        cipher=cipher,
        facts=await facts.current_facts(conn, case.tenant, case.id, cipher),
        documents=await documents.documents_of(conn, case.tenant, case.id, cipher),
        parties=[row.party for row in people],
        proposal=latest.proposal if latest else None,
        proposal_id=latest.id if latest else "",
    )


async def read_cited_pages(conn: Connection, dossier: Dossier, quotes: Sequence[Quote]) -> list[PageText]:
    """The text of the pages that quotes are said to stand on, each once, as far as they were read.

    Never all pages: this is asked under the case's lock, and a dossier may have thousands.
    """
    names = short_names(dossier.submitted())
    places = {(names[quote.document].id, quote.page) for quote in quotes if quote.document in names}
    case = dossier.case
    found = [
        await documents.page_of(conn, case.tenant, document, page, dossier.cipher) for document, page in sorted(places)
    ]
    return [page for page in found if page is not None]
