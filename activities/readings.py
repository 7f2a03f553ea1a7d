"""Reads the documents of a case that nobody has read yet, in the confined readers, outside any transaction."""

from __future__ import annotations

from dataclasses import dataclass

from activities.dossier import QUARANTINED, Dossier
from diwan.documents.extract import Extraction
from diwan.documents.readers import Readers
from diwan.store import documents
from diwan.store.database import Database

ACCEPTED = "accepted"
READ = "text_read"  # flag of a document whose text was taken once


@dataclass(frozen=True)
class Reading:
    """`flags` are those that the document had before, with `text_read`."""

    document: str
    flags: list[str]
    extraction: Extraction


async def read_documents(db: Database, readers: Readers, dossier: Dossier) -> list[Reading]:
    """One reading for each accepted document without one."""
    readings: list[Reading] = []
    for row in dossier.documents:
        if row.status in (QUARANTINED,) or READ in row.flags:
            continue
        async with db.transaction(dossier.case.tenant) as conn:
            _, data = await documents.read_document(conn, dossier.case.tenant, row.id, dossier.cipher)
        extraction = await readers.extract_document(data, row.id)
        readings.append(Reading(row.id, [*row.flags, READ], extraction))
    return readings
