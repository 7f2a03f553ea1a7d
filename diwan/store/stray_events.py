"""An event that matches no case: kept, with a task for a clerk, on a chain of its own. Nothing is lost."""

from __future__ import annotations

from diwan.domain.actor import Role
from diwan.domain.event import FollowUp
from diwan.domain.ports import Keyring
from diwan.domain.task import TaskKind, TaskStatus
from diwan.store import inbox
from diwan.store.database import Database
from diwan.store.entries import append_entry
from diwan.store.incoming import Accepted, Incoming, entry_fields, kind_of
from diwan.store.tasks import TaskRow, insert_task, seal_shown, stray_scope, task_id_of


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
            "documents": list(event.ids),
        },
    )
    task = TaskRow(
        *(envelope.tenant, task_id, None, TaskKind.STRAY_EVENT, "stray_event", 1, TaskStatus.OPEN, "", "", ""),
        *([Role.CLERK, Role.SUPERVISOR], shown, digest, "", "", event.now, None, None),
    )
    async with db.transaction(envelope.tenant) as conn:
        await inbox.insert_event(
            conn,
            envelope.tenant,
            source=envelope.source,
            event_id=envelope.id,
            case_id=None,
            inbox_seq=None,
            type_=envelope.type,
            digest=event.digest,
            body_sealed=body_sealed,
            accepted_from=event.client.subject,
            traceparent=envelope.traceparent,
            now=event.now,
        )
        await event.store_documents(conn, None, made)
        await insert_task(conn, task)
        fields = entry_fields(event, cipher, None)
        await append_entry(
            conn, envelope.tenant, stray_scope(task_id), kind_of(envelope), event.client, now=event.now, **fields
        )
    return Accepted(None, None, None, duplicate=False, documents=[each.taken for each in made])
