"""What goes out: letters, notifications, events."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ForeignKeyConstraint, Integer, PrimaryKeyConstraint, Table
from sqlalchemy.dialects.postgresql import JSONB

from diwan.store.tables.columns import instant, metadata, of_case, sealed, text

letter = Table(
    "letter",
    metadata,
    text("tenant"),
    text("id"),
    text("case_id"),
    text("kind"),
    text("language"),
    text("number"),
    text("blob"),
    sealed("content_sealed"),
    text("template"),
    instant("made_at"),
    text("receipt_chain", nullable=True),
    sealed("receipt_sealed", nullable=True),
    PrimaryKeyConstraint("tenant", "id"),
    ForeignKeyConstraint(["tenant", "blob"], ["blob.tenant", "blob.hash"]),
    of_case(),
)  # id = step_key(…); content_sealed: the JSON that the PDF was set from; blob: the PDF's ciphertext
# receipt_*: the letter's own chain on the ledger, and what that commits to (store/receipts.py)

notification = Table(
    "notification",
    metadata,
    text("tenant"),
    text("id"),
    text("case_id"),
    text("letter_id"),
    text("channel"),
    instant("sent_at"),
    instant("received_at", nullable=True),
    sealed("proof_sealed", nullable=True),
    text("status"),
    PrimaryKeyConstraint("tenant", "id"),
    ForeignKeyConstraint(["tenant", "letter_id"], ["letter.tenant", "letter.id"]),
    of_case(),
)  # status: sent | received | returned

outbox = Table(
    "outbox",
    metadata,
    text("tenant"),
    text("id"),
    text("case_id", nullable=True),
    text("type"),
    Column[Any]("payload", JSONB, nullable=False),
    text("webhook_id"),
    instant("created_at"),
    instant("delivered_at", nullable=True),
    instant("next_at"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    text("last_status", default=""),
    PrimaryKeyConstraint("tenant", "id"),
    ForeignKeyConstraint(["tenant", "webhook_id"], ["webhook.tenant", "webhook.id"]),
)  # id is the `webhook-id` of every repeat; payload: a CloudEvent with ids and states only; not a child of the version
