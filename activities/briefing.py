"""What an agent may be told of a case at every step of its run, whatever the size of the dossier. Personal data."""

from __future__ import annotations

from dataclasses import dataclass

from activities.dossier import submitted
from agents.dossier import SubmittedDocument
from diwan.domain.ports import Cipher
from diwan.domain.text import Language
from diwan.procedures.periods import Calendar, calendar_of
from diwan.procedures.schema import Procedure
from diwan.store import briefs, procedures
from diwan.store.connection import Connection


@dataclass(frozen=True)
class Brief:
    """`identity_number` is the applicant's own, as the form gives it; empty where the procedure does not ask for it.

    `documents` are those that may be read, in the order they came.
    """

    tenant: str
    case: str
    procedure: Procedure
    calendar: Calendar
    language: Language
    identity_number: str
    documents: list[SubmittedDocument]


async def read_brief(conn: Connection, tenant: str, case: str, cipher: Cipher) -> Brief:
    """Reads it within the transaction of `conn`. Raises `NotFound`."""
    row = await briefs.brief_row(conn, tenant, case, cipher)
    procedure = await procedures.procedure_of(conn, tenant, row.procedure_hash)
    return Brief(
        tenant=tenant,
        case=case,
        procedure=procedure,
        calendar=calendar_of(procedure),
        language=Language(row.language),
        identity_number=str(row.identity.value) if row.identity else "",
        documents=submitted(row.documents),
    )
