"""Documents of a case: sealed bytes addressed by the hash of their ciphertext, sealed names, sealed page texts.

A document may be staged before its event: it lies under a scope of its own then, and is sealed anew under the
case's key when an event brings it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects import postgresql

from diwan.domain.errors import Conflict, NotFound, Tampered
from diwan.domain.facts import PageText
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.connection import Connection, Statement
from diwan.store.sealing import context, open_value, seal_value
from diwan.store.tables import blob, document, page

ACCEPTED = "accepted"
UNREADABLE = "unreadable"
QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document as it came and was inspected. `status` is accepted or quarantined, the latter with a `reason`."""

    name: str
    data: bytes
    media_type: str
    piece: str = ""
    status: str = ACCEPTED
    reason: str = ""
    pages: int = 0
    flags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a document: accepted, or quarantined for a reason (a machine name)."""

    id: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class SealedDocument:
    """Rows ready to be stored."""

    id: str
    row: dict[str, Any]
    blob: dict[str, Any]

    @property
    def taken(self) -> Taken:
        return Taken(self.id, self.row["status"], self.row["reason"])


@dataclass(frozen=True, slots=True)
class DocumentRow:
    id: str
    case_id: str | None
    event_id: str
    piece: str
    name: str
    media_type: str
    size: int
    blob: str
    status: str
    reason: str
    pages: int
    flags: list[str]
    uploaded_by: str
    received_at: datetime


def staging_scope(document_id: str) -> str:
    """The scope whose keys a staged document is sealed under."""
    return f"staged/{document_id}"


def new_id() -> str:
    return str(uuid.uuid4())


def seal_blob(cipher: Cipher, retention: RetentionClass, owner: str, data: bytes) -> tuple[str, bytes]:
    """Address (SHA-256 hex of the ciphertext) and ciphertext; `owner` is the id of the row that refers to it."""
    sealed = cipher.seal(retention, context("blob.bytes_sealed", owner), data)
    return hashlib.sha256(sealed).hexdigest(), sealed


def seal_document(cipher: Cipher, id_: str, new: NewDocument) -> SealedDocument:
    """Seals bytes and name; CPU only, but do it before the case is locked: documents are large."""
    address, sealed = seal_blob(cipher, RetentionClass.EVIDENCE, id_, new.data)
    name = cipher.seal(RetentionClass.EVIDENCE, context("document.name_sealed", id_), new.name.encode())
    row = {
        "id": id_,
        "piece": new.piece,
        "name_sealed": name,
        "media_type": new.media_type,
        "size": len(new.data),
        "blob": address,
        "status": new.status,
        "reason": new.reason,
        "pages": new.pages,
        "flags": list(new.flags),
    }
    return SealedDocument(id_, row, {"hash": address, "bytes_sealed": sealed})


async def insert_blob(conn: Connection, tenant: str, address: str, sealed: bytes) -> None:
    """Stores ciphertext under its address; the same again does nothing."""
    await conn.execute(
        postgresql.insert(blob).values(tenant=tenant, hash=address, bytes_sealed=sealed).on_conflict_do_nothing()
    )


async def insert_documents(
    conn: Connection,
    tenant: str,
    case_id: str | None,
    event_id: str,
    documents: Sequence[SealedDocument],
    *,
    uploaded_by: str,
    now: datetime,
) -> None:
    """Stores documents of an event; without a case they are staged, or belong to an event that matches none."""
    if not documents:
        return
    await conn.execute(insert(blob), [{"tenant": tenant, **made.blob} for made in documents])
    shared = {
        "tenant": tenant,
        "case_id": case_id,
        "event_id": event_id,
        "uploaded_by": uploaded_by,
        "received_at": now,
    }
    await conn.execute(insert(document), [{**made.row, **shared} for made in documents])


async def attach(
    conn: Connection, tenant: str, case_id: str | None, event_id: str, made: SealedDocument, *, uploaded_by: str
) -> None:
    """Gives a staged document, sealed anew, to an event. Raises `Conflict` where another event has taken it."""
    await insert_blob(conn, tenant, made.blob["hash"], made.blob["bytes_sealed"])
    taken = await conn.execute(
        update(document)
        .where(
            document.c.tenant == tenant,
            document.c.id == made.id,
            document.c.event_id == "",
            document.c.uploaded_by == uploaded_by,
        )
        .values(case_id=case_id, event_id=event_id, **{k: v for k, v in made.row.items() if k != "id"})
    )
    if taken.rowcount != 1:
        raise Conflict("document.taken", "An uploaded document was used before.", "Upload it again.")


async def file_document(conn: Connection, tenant: str, case_id: str, made: SealedDocument) -> None:
    """Gives the document of an event that matched no case, sealed anew, to a case, under that case's lock.

    Raises `Conflict` where a case has it already.
    """
    await insert_blob(conn, tenant, made.blob["hash"], made.blob["bytes_sealed"])
    filed = await conn.execute(
        update(document)
        .where(document.c.tenant == tenant, document.c.id == made.id, document.c.case_id.is_(None))
        .values(case_id=case_id, name_sealed=made.row["name_sealed"], blob=made.row["blob"])
    )
    if filed.rowcount != 1:
        raise Conflict("document.taken", "A document of this event belongs to a case already.", "See that case.")


async def stage(conn: Connection, tenant: str, made: SealedDocument, *, uploaded_by: str, now: datetime) -> None:
    """Keeps a document that came before its event; `made` is sealed under `staging_scope`."""
    await insert_documents(conn, tenant, None, "", [made], uploaded_by=uploaded_by, now=now)


async def staged(conn: Connection, tenant: str, document_id: str, cipher: Cipher, *, uploaded_by: str) -> NewDocument:
    """A staged document, opened. Raises `NotFound` where this sender staged none of this id or it was used."""
    row = await _one(conn, tenant, document_id)
    if row is None or row.event_id != "" or row.uploaded_by != uploaded_by:
        raise NotFound("document.not_staged", "There is no uploaded document of this reference.", "Upload it first.")
    data = await read_blob(conn, tenant, row.blob, row.id, RetentionClass.EVIDENCE, cipher)
    return NewDocument(
        name=_name(row, cipher),
        data=data,
        media_type=row.media_type,
        piece=row.piece,
        status=row.status,
        reason=row.reason,
        pages=row.pages,
        flags=row.flags,
    )


async def taken(conn: Connection, tenant: str, ids: Sequence[str]) -> list[Taken]:
    """What became of these documents, in their order."""
    d = document.c
    rows = await conn.execute(select(d.id, d.status, d.reason).where(d.tenant == tenant, d.id.in_(ids)))
    found = {row.id: Taken(*row) for row in rows}
    return [found[id_] for id_ in ids if id_ in found]


async def documents_of(conn: Connection, tenant: str, case_id: str, cipher: Cipher) -> list[DocumentRow]:
    """The documents of a case in the order they came."""
    rows = await conn.execute(
        select(document)
        .where(document.c.tenant == tenant, document.c.case_id == case_id)
        .order_by(document.c.received_at, document.c.id)
    )
    return [_document(row, cipher) for row in rows]


async def document_scope(conn: Connection, tenant: str, document_id: str, *, without_case: str = "") -> str:
    """The id of the document's case, else `without_case`. Raises `NotFound` for no such document, or no scope."""
    row = await _one(conn, tenant, document_id)
    scope = (row.case_id or without_case) if row is not None else ""
    if not scope:
        raise NotFound("document.unknown", "There is no such document.", "Check its id.")
    return str(scope)


async def read_document(conn: Connection, tenant: str, document_id: str, cipher: Cipher) -> tuple[DocumentRow, bytes]:
    """A document and its bytes as received; `cipher` is its case's. Raises `NotFound`, `Tampered`."""
    row = await _one(conn, tenant, document_id)
    if row is None:
        raise NotFound("document.unknown", "There is no such document.", "Check its id.")
    data = await read_blob(conn, tenant, row.blob, row.id, RetentionClass.EVIDENCE, cipher)
    return _document(row, cipher), data


async def update_document(
    conn: Connection,
    tenant: str,
    document_id: str,
    *,
    status: str | None = None,
    piece: str | None = None,
    reason: str | None = None,
    pages: int | None = None,
    flags: list[str] | None = None,
) -> None:
    """What was found out by reading it, under the case's lock; what is None stays."""
    found = {"status": status, "piece": piece, "reason": reason, "pages": pages, "flags": flags}
    values = {name: value for name, value in found.items() if value is not None}
    done = await conn.execute(
        update(document).where(document.c.tenant == tenant, document.c.id == document_id).values(values)
    )
    if done.rowcount != 1:
        raise NotFound("document.unknown", "There is no such document.", "Check its id.")


async def store_pages(conn: Connection, tenant: str, case_id: str, pages: Sequence[PageText], cipher: Cipher) -> None:
    """Keeps the text read from pages, under the case's lock. A page that has its text keeps it."""
    if not pages:
        return
    rows = [
        {
            "tenant": tenant,
            "document_id": read.document,
            "page": read.page,
            "case_id": case_id,
            "text_sealed": seal_value(cipher, RetentionClass.EVIDENCE, _page_context(read.document, read.page), read),
        }
        for read in pages
    ]
    await conn.execute(postgresql.insert(page).on_conflict_do_nothing(), rows)


async def pages_of(conn: Connection, tenant: str, case_id: str, cipher: Cipher) -> list[PageText]:
    """The text of all pages of a case, by document and page."""
    rows = await conn.execute(
        select(page.c.document_id, page.c.page, page.c.text_sealed)
        .where(page.c.tenant == tenant, page.c.case_id == case_id)
        .order_by(page.c.document_id, page.c.page)
    )
    return [
        open_value(cipher, RetentionClass.EVIDENCE, _page_context(row.document_id, row.page), row.text_sealed, PageText)
        for row in rows
    ]


async def page_of(conn: Connection, tenant: str, document_id: str, number: int, cipher: Cipher) -> PageText | None:
    """The text of one page (1-based), where it was read."""
    row = await _PAGE.row(conn, {"tenant": tenant, "document": document_id, "page": number})
    if row is None:
        return None
    place = _page_context(document_id, number)
    return open_value(cipher, RetentionClass.EVIDENCE, place, row.text_sealed, PageText)


_PAGE = Statement("SELECT text_sealed FROM page WHERE tenant = :tenant AND document_id = :document AND page = :page")


def _page_context(document_id: str, number: int) -> str:
    return context("page.text_sealed", document_id, number)


async def _one(conn: Connection, tenant: str, document_id: str) -> Any:
    found = await conn.execute(select(document).where(document.c.tenant == tenant, document.c.id == document_id))
    return found.one_or_none()


async def read_blob(
    conn: Connection, tenant: str, address: str, owner: str, retention: RetentionClass, cipher: Cipher
) -> bytes:
    """What was sealed by `seal_blob` for `owner`. Raises `NotFound`, `Tampered`."""
    return open_blob(await sealed_blob(conn, tenant, address), owner, retention, cipher)


def open_blob(sealed: bytes, owner: str, retention: RetentionClass, cipher: Cipher) -> bytes:
    """Raises `NotFound` where the key is destroyed, `Tampered`."""
    return cipher.open(retention, context("blob.bytes_sealed", owner), sealed)


async def sealed_blob(conn: Connection, tenant: str, address: str) -> bytes:
    """The ciphertext at an address. Raises `NotFound`, `Tampered`."""
    found = await conn.execute(select(blob.c.bytes_sealed).where(blob.c.tenant == tenant, blob.c.hash == address))
    sealed = found.scalar_one_or_none()
    if sealed is None:
        raise NotFound("blob.missing", "The bytes of this document are not stored.", "Tell the operator.")
    if hashlib.sha256(sealed).hexdigest() != address:
        raise Tampered("blob.hash_differs", "The stored bytes are not those that were stored.", "Tell the operator.")
    return bytes(sealed)


def _name(row: Any, cipher: Cipher) -> str:
    """Empty where it is erased: that there was a document, and when it came, stays."""
    try:
        return _opened_name(row, cipher)
    except NotFound:
        return ""


def _opened_name(row: Any, cipher: Cipher) -> str:
    return cipher.open(RetentionClass.EVIDENCE, context("document.name_sealed", row.id), row.name_sealed).decode()


def _document(row: Any, cipher: Cipher) -> DocumentRow:
    kept = {name: getattr(row, name) for name in DocumentRow.__dataclass_fields__ if name != "name"}
    return DocumentRow(name=_name(row, cipher), **kept)
