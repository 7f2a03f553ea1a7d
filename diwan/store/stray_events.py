"""An event that matches no case: kept, with a task for a clerk, on a chain of its own. Nothing is lost.

A person names its case: then it is an event of that case like any other, sealed anew under the case's keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from diwan.domain.actor import Role
from diwan.domain.errors import InvalidInput
from diwan.domain.event import FollowUp
from diwan.domain.ports import Cipher, Keyring, RetentionClass
from diwan.domain.task import TaskKind, TaskStatus
from diwan.store import documents, inbox
from diwan.store.cases import find_case
from diwan.store.change import CaseRow, Change
from diwan.store.connection import Connection
from diwan.store.database import Database
from diwan.store.documents import NewDocument, SealedDocument
from diwan.store.entries import append_entry
from diwan.store.erasures import erased_of, refuse_erased
from diwan.store.incoming import Accepted, Incoming, canonical_event, entry_fields, kind_of
from diwan.store.tasks import TaskRow, insert_task, seal_shown, shown_of, stray_scope, task_id_of

ASSIGNED = "assigned"  # the outcome of the task of an event that a person gave to a case
_CASE = "case"


async def keep(db: Database, keyring: Keyring, event: Incoming, data: FollowUp) -> Accepted:
    """Stores the event, its documents and the task under a scope of their own; which case is a person's to say."""
    envelope = event.envelope
    task_id = task_id_of(envelope.tenant, TaskKind.STRAY_EVENT.value, envelope.source, envelope.id)
    cipher = await keyring.cipher(envelope.tenant, stray_scope(task_id))
    made = await event.sealed_documents(db, keyring, cipher)
    body_sealed = inbox.seal_body(cipher, envelope.source, envelope.id, event.body)
    shown, digest = seal_shown(
        cipher,
        task_id,
        {
            "event": {"source": envelope.source, "id": envelope.id, "type": envelope.type, "subject": envelope.subject},
            "accepted_at": event.now.isoformat(),
            "data": data.model_dump(mode="json"),
            "documents": [
                {"id": id_, "name": reference.name, "piece": reference.piece, "status": each.taken.status}
                for id_, reference, each in zip(event.ids, event.references, made, strict=True)
            ],
        },
    )
    task = TaskRow(
        *(envelope.tenant, task_id, None, TaskKind.STRAY_EVENT, "stray_event", 1, TaskStatus.OPEN, "", "", ""),
        *([Role.CLERK, Role.SUPERVISOR], shown, digest, "", "", event.now, None, None),
    )
    async with db.transaction(envelope.tenant) as conn:
        await event.insert(conn, body_sealed)
        await event.store_documents(conn, None, made)
        await insert_task(conn, task)
        fields = entry_fields(event, cipher, None)
        await append_entry(
            conn, envelope.tenant, stray_scope(task_id), kind_of(envelope), event.client, now=event.now, **fields
        )
    return Accepted(None, None, None, duplicate=False, documents=[each.taken for each in made])


@dataclass(frozen=True, slots=True)
class StrayEvent:
    """A stray event as opened; `canonical` is what the entry of its arrival commits to."""

    task_id: str
    row: inbox.InboxRow
    body: dict[str, Any]
    canonical: bytes
    documents: Mapping[str, NewDocument]


async def read_stray(conn: Connection, task: TaskRow, cipher: Cipher) -> StrayEvent:
    """The event of a task that is still open, with all its documents; `conn` is of a snapshot. Raises `Tampered`."""
    said = shown_of(task, cipher)["event"]
    row = await inbox.event_of(conn, task.tenant, said["source"], said["id"])
    assert row is not None, "event and task were stored together"
    body = inbox.body_of(row, cipher)
    came: dict[str, NewDocument] = {}
    for id_ in body["documents"]:
        kept, data = await documents.read_document(conn, task.tenant, id_, cipher)
        same = {name: getattr(kept, name) for name in NewDocument.__dataclass_fields__ if name != "data"}
        came[id_] = NewDocument(data=data, **same)
    listed = zip(body["data"]["documents"], came.values(), strict=True)
    parts = [new for reference, new in listed if not reference["ref"]]
    canonical = canonical_event(row.type, said["subject"], body["data"], parts)
    return StrayEvent(task.id, row, body, canonical, came)


async def case_named(conn: Connection, tenant: str, changes: Mapping[str, JsonValue]) -> CaseRow:
    """The case that `changes` of an edit name. Raises `InvalidInput` for none, or where they say anything else."""
    if set(changes) != {_CASE}:
        raise InvalidInput(
            "task.change_unknown",
            "Of an event that matches no case, only its case can be set.",
            'Give `changes` as {"case": "<number or id>"}.',
        )
    key = changes[_CASE]
    case = await find_case(conn, tenant, key) if isinstance(key, str) else None
    if case is None:
        raise InvalidInput(
            "task.case_unknown",
            "`case` names no case of this ministry.",
            "Give its number or id: `diwan case list` has them.",
        )
    if await erased_of(conn, case):
        raise InvalidInput(
            "task.case_erased",
            "What that case held is erased, and nothing is added to it.",
            "Have the applicant open a new case, then put this event away.",
        )
    return case


async def case_filed_in(conn: Connection, task: TaskRow) -> str | None:
    """The id of the case that a person gave the event of this task to, if one did."""
    if task.kind is not TaskKind.STRAY_EVENT or task.outcome != ASSIGNED:
        return None
    filed = await inbox.event_of(conn, task.tenant, inbox.TASK_SOURCE, task.id)
    return filed.case_id if filed else None


@dataclass(frozen=True, slots=True)
class Filing:
    """All that filing the event writes, sealed under the case's keys."""

    event: StrayEvent
    body_sealed: bytes
    documents: list[SealedDocument]


def seal_filing(event: StrayEvent, cipher: Cipher) -> Filing:
    """`cipher` is the case's. CPU only, but for all documents: before the case is locked."""
    body: dict[str, JsonValue] = {**event.body, "event": {"source": event.row.source, "id": event.row.event_id}}
    return Filing(
        event,
        inbox.seal_body(cipher, inbox.TASK_SOURCE, event.task_id, body),
        [documents.seal_document(cipher, id_, new) for id_, new in event.documents.items()],
    )


async def file_event(change: Change, filing: Filing) -> int:
    """The event takes the next number in the case's inbox, and its documents are the case's. Gives the number.

    What came in stays as it came, so that its sender gets the same answer again: the case has a row of its own, under
    the id of the task, and an event is filed once. It counts from the day on which it reached the ministry.
    """
    await refuse_erased(change.conn, change.case, *RetentionClass)
    row, seq = filing.event.row, change.next_inbox_seq()
    await inbox.insert_event(
        change.conn,
        change.case.tenant,
        source=inbox.TASK_SOURCE,
        event_id=filing.event.task_id,
        case_id=change.case.id,
        inbox_seq=seq,
        type_=row.type,
        digest=row.digest,
        body_sealed=filing.body_sealed,
        accepted_from=row.accepted_from,
        traceparent=row.traceparent,
        now=row.accepted_at,
    )
    for made in sorted(filing.documents, key=lambda each: each.id):  # one order of locks for all
        await documents.file_document(change.conn, change.case.tenant, change.case.id, made)
    return seq
