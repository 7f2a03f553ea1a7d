"""Letters as they went out: the PDF, and the content that it was set from. notifications.py has how they arrived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.dialects import postgresql

from diwan.domain.errors import NotFound
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import Change
from diwan.store.connection import Connection
from diwan.store.documents import insert_blob, read_blob, seal_blob
from diwan.store.receipts import SealedReceipt
from diwan.store.sealing import context, open_json, seal_json
from diwan.store.tables import letter


@dataclass(frozen=True, slots=True)
class LetterRow:
    """`content` is the JSON that the PDF was set from; `blob` the address of the PDF's ciphertext; `receipt_chain` the
    letter's own chain (receipts.py), None in letters of before there were any."""

    id: str
    case_id: str
    kind: str
    language: str
    number: str
    template: str
    blob: str
    content: dict[str, Any]
    made_at: datetime
    receipt_chain: str | None


@dataclass(frozen=True, slots=True)
class SealedLetter:
    """A letter ready to be stored: sealing and setting happen before the case is locked."""

    id: str
    kind: str
    language: str
    number: str
    template: str
    address: str
    pdf_sealed: bytes
    content_sealed: bytes
    receipt: SealedReceipt | None = None


def seal_letter(
    cipher: Cipher,
    id_: str,
    *,
    kind: str,
    language: str,
    number: str,
    template: str,
    content: Mapping[str, JsonValue],
    pdf: bytes,
    receipt: SealedReceipt | None = None,
) -> SealedLetter:
    """`id_` is the key of the step that issues it (domain `step_key`)."""
    address, sealed = seal_blob(cipher, RetentionClass.DECISION, id_, pdf)
    content_sealed = seal_json(cipher, RetentionClass.DECISION, context("letter.content_sealed", id_), content)
    return SealedLetter(id_, kind, language, number, template, address, sealed, content_sealed, receipt)


async def store_letter(change: Change, made: SealedLetter) -> bool:
    """Stores a letter; False (nothing changed) where this step issued it before."""
    await insert_blob(change.conn, change.case.tenant, made.address, made.pdf_sealed)
    stored = await change.conn.execute(
        postgresql.insert(letter)
        .values(
            tenant=change.case.tenant,
            id=made.id,
            case_id=change.case.id,
            kind=made.kind,
            language=made.language,
            number=made.number,
            blob=made.address,
            content_sealed=made.content_sealed,
            template=made.template,
            made_at=change.now,
            receipt_chain=made.receipt.chain if made.receipt else None,
            receipt_sealed=made.receipt.sealed if made.receipt else None,
        )
        .on_conflict_do_nothing()
    )
    return stored.rowcount == 1


async def letters_of(conn: Connection, tenant: str, case_id: str, cipher: Cipher) -> list[LetterRow]:
    """The letters of a case, the first first; without content those that are erased."""
    rows = await conn.execute(
        select(letter)
        .where(letter.c.tenant == tenant, letter.c.case_id == case_id)
        .order_by(letter.c.made_at, letter.c.id)
    )
    return [_listed(row, cipher) for row in rows]


async def read_letter(conn: Connection, tenant: str, letter_id: str, cipher: Cipher) -> tuple[LetterRow, bytes]:
    """A letter and its PDF; `cipher` is its case's. Raises `NotFound`, `Tampered`."""
    found = await conn.execute(select(letter).where(letter.c.tenant == tenant, letter.c.id == letter_id))
    row = found.one_or_none()
    if row is None:
        raise NotFound("letter.unknown", "There is no such letter.", "Check its id.")
    pdf = await read_blob(conn, tenant, row.blob, letter_id, RetentionClass.DECISION, cipher)
    return _letter(row, cipher), pdf


def _listed(row: Any, cipher: Cipher) -> LetterRow:
    try:
        return _letter(row, cipher)
    except NotFound:
        return _with_content(row, {})


def _letter(row: Any, cipher: Cipher) -> LetterRow:
    place = context("letter.content_sealed", row.id)
    return _with_content(row, open_json(cipher, RetentionClass.DECISION, place, row.content_sealed))


def _with_content(row: Any, content: dict[str, Any]) -> LetterRow:
    kept = {name: getattr(row, name) for name in LetterRow.__dataclass_fields__ if name != "content"}
    return LetterRow(content=content, **kept)
