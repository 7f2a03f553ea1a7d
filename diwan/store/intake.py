"""Intake: one transaction finds or opens the case, locks it, stores the event and writes the entry.

The same event again gets the same answer; the same id with another body is a conflict, on record. What matches no
case becomes a clerk's task. Everything that speaks with the vault or seals happens before the transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import psycopg
from sqlalchemy.exc import IntegrityError

from diwan.domain.actor import Actor
from diwan.domain.errors import Conflict, InvalidInput, NotFound, Refused
from diwan.domain.event import FOLLOW_UP_TYPES, OPENING_TYPES, Application, Envelope, FollowUp
from diwan.domain.ports import Cipher, Keyring, RetentionClass
from diwan.store import clock_watch, documents, erasures, inbox, intake_opening, stray_events
from diwan.store.cases import find_case
from diwan.store.change import CaseRow, change_case
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.store.documents import NewDocument
from diwan.store.incoming import Accepted, Incoming, answer_again, entry_fields, incoming_event, kind_of
from diwan.store.refusals import record_refusal
from diwan.store.sealing import is_destroyed
from diwan.store.sources import sources_of

__all__ = ["Accepted", "accept_event"]

# The same event may have been taken between our look and our write: looking again finds it, or the true reason.
_TAKEN = ("document.taken", "document.not_staged")
# The case's data were erased meanwhile: then the event is nobody's until a person has looked.
_ERASED = "case.erased"
_LOOKS = 2


async def accept_event(
    db: Database,
    keyring: Keyring,
    envelope: Envelope,
    data: Application | FollowUp,
    parts: Sequence[NewDocument],
    *,
    client: Actor,
    now: datetime,
) -> Accepted:
    """Takes an event in, exactly once, and says where it went.

    `data` fits the event's type and its answers were checked against the form; `parts` are the documents of
    `data.documents` that have a `part`, in that order, as inspected (quarantined ones are kept and block nothing).

    Raises `Refused` for a source that is not the client's and `Conflict` for an id or reference that was used for
    something else, both on record; `NotFound` for a procedure or upload that is not there; `InvalidInput`.
    """
    try:
        for _ in range(_LOOKS):
            try:
                return await _accept(db, keyring, envelope, data, parts, client, now)
            except IntegrityError as error:
                if not isinstance(error.orig, psycopg.errors.UniqueViolation):
                    raise
            except (NotFound, Conflict) as error:
                if error.code not in (*_TAKEN, _ERASED):
                    raise
        return await _accept(db, keyring, envelope, data, parts, client, now)
    except (Refused, Conflict) as error:
        tried = {"source": envelope.source, "type": envelope.type}
        await record_refusal(db, client, "event:event:refused", error, now=now, detail=tried)
        raise


async def _accept(
    db: Database,
    keyring: Keyring,
    envelope: Envelope,
    data: Application | FollowUp,
    parts: Sequence[NewDocument],
    client: Actor,
    now: datetime,
) -> Accepted:
    case: CaseRow | None = None
    async with db.transaction(envelope.tenant) as conn:
        sources = await sources_of(conn, envelope.tenant, client.subject)
        if envelope.source not in sources or envelope.source == inbox.TASK_SOURCE:
            raise Refused(
                "event.source_not_bound",
                "This credential may not speak for the event's source.",
                "Send as your own source, or ask the operator to bind this one to your credential.",
            )
        known = await inbox.event_of(conn, envelope.tenant, envelope.source, envelope.id)
        if known is None and isinstance(data, FollowUp):
            case = await find_case(conn, envelope.tenant, envelope.subject) if envelope.subject else None
            case = case if case and case.source in sources and not await _erased(conn, case) else None
    _demand_type(envelope, data)
    event = await incoming_event(keyring, envelope, data, parts, client, now)
    if known is not None:
        async with db.transaction(envelope.tenant) as conn:
            return await answer_again(conn, event, known)
    if isinstance(data, Application):
        return await intake_opening.open_case_by(db, keyring, event, data)
    if case is None:
        return await stray_events.keep(db, keyring, event, data)
    cipher = await keyring.cipher(envelope.tenant, case.id)
    if any(is_destroyed(cipher, retention) for retention in _SEALS):
        return await stray_events.keep(db, keyring, event, data)
    return await _follow_up(db, keyring, event, case, cipher)


async def _erased(conn: Connection, case: CaseRow) -> bool:
    return bool(set(_SEALS) & await erasures.erased_of(conn, case))


# What an event for a case is sealed under.
_SEALS = (RetentionClass.DECISION, RetentionClass.EVIDENCE)


def _demand_type(envelope: Envelope, data: Application | FollowUp) -> None:
    if envelope.type not in (OPENING_TYPES if isinstance(data, Application) else FOLLOW_UP_TYPES):
        raise InvalidInput(
            "event.type_unknown",
            "Events of this type are not taken in.",
            f"Types: {', '.join(sorted(OPENING_TYPES | FOLLOW_UP_TYPES))}.",
        )


async def _follow_up(db: Database, keyring: Keyring, event: Incoming, case: CaseRow, cipher: Cipher) -> Accepted:
    envelope = event.envelope
    made = await event.sealed_documents(db, keyring, cipher)
    body_sealed = inbox.seal_body(cipher, envelope.source, envelope.id, event.body)
    async with (
        db.transaction(envelope.tenant) as conn,
        change_case(conn, envelope.tenant, case.id, now=event.now) as change,
    ):
        await erasures.refuse_erased(conn, change.case, *_SEALS)
        seq = change.next_inbox_seq()
        await event.insert(conn, body_sealed, case_id=case.id, inbox_seq=seq, now=change.now)
        await event.store_documents(conn, case.id, made)
        await clock_watch.mark_unsure(change)
        change.record(kind_of(envelope), event.client, **entry_fields(event, cipher, seq))
    return Accepted(case.id, case.number, seq, duplicate=False, documents=[each.taken for each in made])


async def upload_document(db: Database, keyring: Keyring, new: NewDocument, *, client: Actor, now: datetime) -> str:
    """Keeps a document that comes before its event; the id given is what the event's `ref` names.

    Only the client that uploaded it can use it, once.
    """
    id_ = documents.new_id()
    cipher = await keyring.cipher(client.tenant, documents.staging_scope(id_))
    made = await asyncio.to_thread(documents.seal_document, cipher, id_, new)
    async with db.transaction(client.tenant) as conn:
        await documents.stage(conn, client.tenant, made, uploaded_by=client.subject, now=now)
    return id_
