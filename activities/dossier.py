"""All that is known of a case, opened: what activities decide on. Personal data; never leaves the process."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sqlalchemy.ext.asyncio import AsyncConnection

from agents.dossier import SubmittedDocument
from diwan.domain.decision import Proposal
from diwan.domain.errors import NotFound
from diwan.domain.facts import Fact, PageText, Provenance
from diwan.domain.party import Party, PartyRole
from diwan.domain.ports import Cipher
from diwan.domain.text import Language
from diwan.procedures.assess import view_of
from diwan.procedures.periods import Calendar, calendar_of
from diwan.procedures.schema import Procedure
from diwan.store import documents, facts, parties, procedures, proposals
from diwan.store.change import CaseRow

QUARANTINED = "quarantined"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class OpenCase:
    """What an agent may be told of a case, as it stood when it was read: no parties, no proposals."""

    case: CaseRow
    procedure: Procedure
    calendar: Calendar
    cipher: Cipher
    facts: list[Fact]
    documents: list[documents.DocumentRow]

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
        return [
            SubmittedDocument(
                id=row.id,
                pages=row.pages,
                piece=row.piece,
                unreadable=row.status == UNREADABLE,
                flags=tuple(row.flags),
            )
            for row in self.documents
            if row.status != QUARANTINED
        ]


@dataclass(frozen=True)
class Dossier(OpenCase):
    """All of it; `proposal` is the latest, if there is one."""

    parties: list[Party]
    proposal: Proposal | None
    proposal_id: str

    @property
    def applicant(self) -> Party:
        """The first party with the applicant's role; intake refuses applications without one."""
        return next(party for party in self.parties if party.role is PartyRole.APPLICANT)

    @property
    def view(self) -> dict[str, object]:
        """What the guards of transitions see."""
        return dict(view_of(self.proposal.assessment)) if self.proposal else {}


async def read_open_case(conn: AsyncConnection, case: CaseRow, cipher: Cipher) -> OpenCase:
    """Opens what an agent may see, within the transaction of `conn`."""
    procedure = (await procedures.published_by_hash(conn, case.tenant, case.procedure_hash)).procedure
    return OpenCase(
        case=case,
        procedure=procedure,
        calendar=calendar_of(procedure),
        cipher=cipher,
        facts=await facts.current_facts(conn, case.tenant, case.id, cipher),
        documents=await documents.documents_of(conn, case.tenant, case.id, cipher),
    )


async def read_dossier(conn: AsyncConnection, case: CaseRow, cipher: Cipher) -> Dossier:
    """Opens a case within the transaction of `conn`; under its lock if that is held."""
    opened = await read_open_case(conn, case, cipher)
    people = await parties.parties_of(conn, case.tenant, case.id, cipher)
    try:
        latest = await proposals.latest_proposal(conn, case.tenant, case.id, cipher)
    except NotFound:
        latest = None
    return Dossier(
        **{field.name: getattr(opened, field.name) for field in fields(opened)},
        parties=[row.party for row in people],
        proposal=latest.proposal if latest else None,
        proposal_id=latest.id if latest else "",
    )


async def read_pages(conn: AsyncConnection, opened: OpenCase) -> list[PageText]:
    """The text of every page that was read so far."""
    return await documents.pages_of(conn, opened.case.tenant, opened.case.id, opened.cipher)
