"""An opening event: the case with its parties, documents and declared facts, version 1, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from diwan.domain.errors import Conflict
from diwan.domain.event import Application
from diwan.domain.facts import Fact
from diwan.domain.ports import Cipher, Keyring
from diwan.procedures.flow import open_case
from diwan.procedures.form import answered_number, declared_facts
from diwan.store import inbox
from diwan.store.cases import case_of_reference
from diwan.store.change import change_case
from diwan.store.clock_watch import CLOCK_UNSURE, standing
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.store.documents import SealedDocument
from diwan.store.entries import EntryDraft, EntryFields
from diwan.store.facts import store_facts
from diwan.store.incoming import Accepted, Incoming, answer_again, case_id_of, entry_fields, kind_of
from diwan.store.new_case import NewCase, create_case, number_case
from diwan.store.parties import insert_parties, seal_parties
from diwan.store.procedures import published
from diwan.store.tenants import calendar_for
from diwan.tracing import spans

# The same application came under another event id: it opens and changes nothing. `inbox_seq` is that of the first.
REPEATED = "event:application:repeated"


@dataclass(frozen=True, slots=True)
class _Prepared:
    """All that the transaction writes, sealed."""

    case: NewCase
    series: str
    cipher: Cipher
    body_sealed: bytes
    parties: list[dict[str, object]]
    documents: list[SealedDocument]
    facts: list[Fact]


async def open_case_by(db: Database, keyring: Keyring, event: Incoming, application: Application) -> Accepted:
    """Opens the case, or gives that of the same application sent under another event id.

    Raises `Conflict` where the reference belongs to another application.
    """
    async with db.transaction(event.envelope.tenant) as conn:
        there = await case_of_reference(conn, event.envelope.tenant, event.envelope.source, application.reference)
    if there is not None:  # what was uploaded for it is not staged any more: nothing is prepared anew
        cipher = await keyring.cipher(event.envelope.tenant, there.id)
        async with db.transaction(event.envelope.tenant) as conn:
            return await _opened_before(conn, event, application, cipher)
    prepared = await _prepare(db, keyring, event, application)
    async with db.transaction(event.envelope.tenant) as conn:
        draft = EntryDraft(kind_of(event.envelope), event.client, **_said(event, prepared))
        opened = await create_case(conn, event.envelope.tenant, prepared.case, draft, now=event.now)
        if opened is None:
            return await _opened_before(conn, event, application, prepared.cipher)
        number = await _write(conn, event, prepared)
    taken = [made.taken for made in prepared.documents]
    return Accepted(prepared.case.id, number, 1, duplicate=False, documents=taken)


def _said(event: Incoming, prepared: _Prepared) -> EntryFields:
    """With how many facts and parties came, which have no entries of their own."""
    said = entry_fields(event, prepared.cipher, 1)
    counted = {"facts": len(prepared.facts), "parties": len(prepared.parties)}
    return {**said, "detail": {**said.get("detail", {}), **counted}}


async def _prepare(db: Database, keyring: Keyring, event: Incoming, application: Application) -> _Prepared:
    envelope = event.envelope
    async with db.transaction(envelope.tenant) as conn:
        version = await published(conn, envelope.tenant, application.procedure)
        unsure = (await standing(conn, envelope.tenant)).frozen
        calendar = await calendar_for(conn, envelope.tenant, version.procedure)
    case_id = case_id_of(envelope, application.reference)
    cipher = await keyring.cipher(envelope.tenant, case_id)
    move = open_case(version.procedure, event.now, calendar)
    today = calendar.day_of(event.now)
    if unsure:
        move.state.flags.append(CLOCK_UNSURE)
    return _Prepared(
        case=NewCase(
            id=case_id,
            source=envelope.source,
            reference=application.reference,
            procedure=version.name,
            procedure_version=version.version,
            procedure_hash=version.hash,
            language=application.language.value,
            state=move.state,
            kind=move.kind,
            wake_at=move.wake_at,
            status=move.status,
            traceparent=spans.case_opened(envelope.tenant, case_id),
        ),
        series=f"{version.procedure.series}-{today.year}",
        cipher=cipher,
        body_sealed=inbox.seal_body(cipher, envelope.source, envelope.id, event.body),
        parties=await seal_parties(
            *(keyring, cipher, envelope.tenant, case_id, application.parties),
            answered=answered_number(version.procedure, application.answers),
        ),
        documents=await event.sealed_documents(db, keyring, cipher),
        facts=declared_facts(version.procedure, application.answers, today),
    )


async def _write(conn: Connection, event: Incoming, prepared: _Prepared) -> str:
    envelope, case_id = event.envelope, prepared.case.id
    await event.insert(conn, prepared.body_sealed, case_id=case_id, inbox_seq=1)
    await insert_parties(conn, prepared.parties)
    await event.store_documents(conn, case_id, prepared.documents)
    await store_facts(conn, envelope.tenant, case_id, prepared.facts, prepared.cipher, version=1, now=event.now)
    return await number_case(conn, envelope.tenant, case_id, prepared.series)


async def _opened_before(conn: Connection, event: Incoming, application: Application, cipher: Cipher) -> Accepted:
    envelope = event.envelope
    case = await case_of_reference(conn, envelope.tenant, envelope.source, application.reference)
    assert case is not None, "the unique key that stopped us names it"
    first = await inbox.opening_event(conn, envelope.tenant, case.id)
    if first.event_id == envelope.id:
        return await answer_again(conn, event, first)
    if first.digest != event.digest:
        raise Conflict(
            "event.reference_used",
            f"This reference already belongs to case {case.number}, opened by another application.",
            "Send a follow-up event for that case, or give the application a reference of its own.",
        )
    # The second id is taken, too: with another body it is a conflict from now on. A row outside every case's inbox
    # that names the first id does it; in the inbox a procedure could act on the same application twice. The case's
    # ledger has it, for its sender was told that it is on record.
    body_sealed = inbox.seal_body(cipher, envelope.source, envelope.id, {"repeats": first.event_id})
    async with change_case(conn, envelope.tenant, case.id, now=event.now) as change:
        await event.insert(conn, body_sealed, now=change.now, consumed_by=first.event_id)
        change.record(REPEATED, event.client, **entry_fields(event, cipher, first.inbox_seq))
    return await answer_again(conn, event, first)
