"""An event on its way in: its digest, the documents it brings, and what is said of it on the ledger and in answers."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import JsonValue

from diwan.domain.actor import Actor
from diwan.domain.errors import Conflict, InvalidInput
from diwan.domain.event import (
    APPLICATION_SUBMITTED,
    APPLICATION_WITHDRAWN,
    NOTIFICATION_RECEIVED,
    PIECES_SUPPLIED,
    Application,
    DocumentRef,
    Envelope,
    FollowUp,
)
from diwan.domain.ports import Cipher, Keyring
from diwan.ledger.entry import canonical
from diwan.store import documents
from diwan.store.cases import get_case
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.store.digests import keyed_digest
from diwan.store.documents import NewDocument, SealedDocument, Taken
from diwan.store.entries import EntryFields
from diwan.store.inbox import InboxRow, event_of, insert_event
from diwan.tracing import spans
from diwan.tracing.context import trace_id_of

_IDS = uuid.UUID("6f0b4c6e-43a5-5b0e-9a57-2a7b4d7b9e11")

_KINDS = {
    APPLICATION_SUBMITTED: "event:application:accepted",
    APPLICATION_WITHDRAWN: "event:withdrawal:accepted",
    PIECES_SUPPLIED: "event:pieces:accepted",
    NOTIFICATION_RECEIVED: "event:notification:accepted",
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """Where an event went, and what became of its documents, in the order of `data.documents`.

    `case_id`, `number` and `inbox_seq` are None where a clerk has to find its case.
    `duplicate`: it was taken before; the answer is the same.
    """

    case_id: str | None
    number: str | None
    inbox_seq: int | None
    duplicate: bool
    documents: Sequence[Taken] = ()


@dataclass(frozen=True, slots=True)
class Incoming:
    """`digest` is a keyed pseudonym of what the event says; `references` and `parts` its documents, in two orders:
    as listed, and those that came with it."""

    envelope: Envelope
    client: Actor
    now: datetime
    digest: str
    canonical: bytes
    body: dict[str, JsonValue]
    references: Sequence[DocumentRef]
    ids: Sequence[str]
    parts: Sequence[NewDocument]

    async def sealed_documents(self, db: Database, keyring: Keyring, cipher: Cipher) -> list[SealedDocument]:
        """Every document sealed under `cipher`, those uploaded before included. Before the case is locked."""
        came = iter(self.parts)
        made: list[SealedDocument] = []
        for id_, reference in zip(self.ids, self.references, strict=True):
            new = await self._uploaded(db, keyring, reference) if reference.ref else next(came)
            new = replace(new, name=reference.name, piece=reference.piece)
            made.append(documents.seal_document(cipher, id_, new))
        return made

    def ids_under(self, event_id: str) -> list[str]:
        """The documents' ids of the same event under this id."""
        return _document_ids(self.envelope.model_copy(update={"id": event_id}), self.references)

    async def _uploaded(self, db: Database, keyring: Keyring, reference: DocumentRef) -> NewDocument:
        cipher = await keyring.cipher(self.envelope.tenant, documents.staging_scope(reference.ref))
        async with db.transaction(self.envelope.tenant) as conn:
            return await documents.staged(
                conn, self.envelope.tenant, reference.ref, cipher, uploaded_by=self.client.subject
            )

    async def insert(
        self,
        conn: Connection,
        body_sealed: bytes,
        *,
        case_id: str | None = None,
        inbox_seq: int | None = None,
        now: datetime | None = None,
        consumed_by: str = "",
    ) -> None:
        """The event's row in the inbox: of a case, or of none. `now`: when it was accepted, where not as it came."""
        await insert_event(
            conn,
            self.envelope.tenant,
            source=self.envelope.source,
            event_id=self.envelope.id,
            case_id=case_id,
            inbox_seq=inbox_seq,
            type_=self.envelope.type,
            digest=self.digest,
            body_sealed=body_sealed,
            accepted_from=self.client.subject,
            traceparent=self.envelope.traceparent,
            now=now or self.now,
            consumed_by=consumed_by,
        )

    async def store_documents(self, conn: Connection, case_id: str | None, made: Sequence[SealedDocument]) -> None:
        """Stores what came with the event and gives it what was uploaded before, within the case's change."""
        tenant, event_id, subject = self.envelope.tenant, self.envelope.id, self.client.subject
        pairs = list(zip(made, self.references, strict=True))
        came = [document for document, reference in pairs if not reference.ref]
        await documents.insert_documents(conn, tenant, case_id, event_id, came, uploaded_by=subject, now=self.now)
        for document, reference in sorted(pairs, key=lambda pair: pair[0].id):  # one order of locks for all
            if reference.ref:
                await documents.attach(conn, tenant, case_id, event_id, document, uploaded_by=subject)


async def incoming_event(
    keyring: Keyring,
    envelope: Envelope,
    data: Application | FollowUp,
    parts: Sequence[NewDocument],
    client: Actor,
    now: datetime,
) -> Incoming:
    """Raises `InvalidInput` where parts and references do not match, or the data has no canonical form."""
    references = data.documents
    if len([each for each in references if not each.ref]) != len(parts):
        raise InvalidInput("event.parts_differ", "The documents named and those sent differ.", "Send each one named.")
    ids = _document_ids(envelope, references)
    body: dict[str, JsonValue] = {"data": data.model_dump(mode="json"), "documents": list(ids)}
    said = _said(envelope.type, envelope.subject, body["data"], parts)
    digest, encoded = await keyed_digest(keyring, envelope.tenant, "event.body", said)
    return Incoming(envelope, client, now, digest, encoded, body, references, ids, parts)


def canonical_event(type_: str, subject: str, data: JsonValue, parts: Sequence[NewDocument]) -> bytes:
    """What the entry of an accepted event commits to: all that it says, and the hashes of what came with it."""
    return canonical(_said(type_, subject, data, parts))


def _said(type_: str, subject: str, data: JsonValue, parts: Sequence[NewDocument]) -> dict[str, JsonValue]:
    hashes: list[JsonValue] = [hashlib.sha256(part.data).hexdigest() for part in parts]
    return {"type": type_, "subject": subject, "data": data, "documents": hashes}


def _document_ids(envelope: Envelope, references: Sequence[DocumentRef]) -> list[str]:
    key = (envelope.tenant, envelope.source, envelope.id)
    return [each.ref or str(uuid.uuid5(_IDS, "\x1f".join((*key, str(n))))) for n, each in enumerate(references)]


def case_id_of(envelope: Envelope, reference: str) -> str:
    """A case's id is known before it is opened, so that its keys can be made first."""
    return str(uuid.uuid5(_IDS, "\x1e".join((envelope.tenant, envelope.source, reference))))


def kind_of(envelope: Envelope) -> str:
    return _KINDS[envelope.type]


def entry_fields(event: Incoming, cipher: Cipher, seq: int | None) -> EntryFields:
    """What the entry of an accepted event says beside kind and actor: it commits to the event as received."""
    quarantined = sum(part.status == documents.QUARANTINED for part in event.parts)
    return {
        "cipher": cipher,
        "commitments": {"event": event.canonical},
        # A sender chooses it, and may put a person's number in: it must be erasable, so no header holds it.
        "body": {"event": event.envelope.id},
        "trace_id": trace_id_of(event.envelope.traceparent),
        "detail": {
            "source": event.envelope.source[:200],
            "type": event.envelope.type,
            "inbox_seq": seq or 0,
            "documents": len(event.ids),
            "quarantined": quarantined,
        },
    }


async def answer_again(conn: Connection, event: Incoming, known: InboxRow) -> Accepted:
    """The answer that this event got when it came first. Raises `Conflict` where it says something else now."""
    if known.digest != event.digest:
        raise Conflict(
            "event.id_used",
            "An event of this source and id was accepted with another content.",
            "Give a new event a new id.",
        )
    if known.repeats:
        first = await event_of(conn, event.envelope.tenant, known.source, known.repeats)
        assert first is not None, "stored before the one that repeats it"
        known = first
    taken = await documents.taken(conn, event.envelope.tenant, event.ids_under(known.event_id))
    if known.case_id is None:
        return Accepted(None, None, None, duplicate=True, documents=taken)
    case = await get_case(conn, event.envelope.tenant, known.case_id)
    spans.concerns(case.tenant, case.id, case.traceparent)
    return Accepted(case.id, case.number, known.inbox_seq, duplicate=True, documents=taken)
