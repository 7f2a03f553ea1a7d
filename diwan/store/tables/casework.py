"""The case: who it is about, what came in, what is held true."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from diwan.store.tables.columns import instant, metadata, of_case, sealed, text

case_file = Table(
    "case_file",
    metadata,
    text("tenant"),
    text("id"),
    text("number"),
    text("source"),
    text("reference"),
    text("procedure"),
    text("procedure_version"),
    text("procedure_hash"),
    text("status"),
    text("language"),
    Column("version", BigInteger, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("changed_in", Text),
    Column[Any]("state", JSONB, nullable=False),
    Column("inbox_last", BigInteger, nullable=False),
    Column("inbox_cursor", BigInteger, nullable=False),
    text("kind"),
    instant("wake_at", nullable=True),
    text("blocked", default=""),
    instant("opened_at"),
    instant("closed_at", nullable=True),
    instant("changed_at", nullable=True),
    instant("rung_at", nullable=True),
    Column("rings", Integer, nullable=False, server_default="0"),
    text("traceparent", default=""),
    PrimaryKeyConstraint("tenant", "id"),
    UniqueConstraint("tenant", "number"),
    UniqueConstraint("tenant", "source", "reference"),
    ForeignKeyConstraint(["tenant", "procedure_hash"], ["procedure_version.tenant", "procedure_version.hash"]),
)  # state: domain CaseState; kind, wake_at: its Plan; rung_at, rings: the relay's, not part of the version;
# changed_at: the instant of the last version, before which none is stamped; traceparent: where its spans hang, set
# when it is opened

party = Table(
    "party",
    metadata,
    text("tenant"),
    text("id"),
    text("case_id"),
    text("role"),
    text("language"),
    sealed("party_sealed"),
    text("name_token"),
    text("identity_token"),
    PrimaryKeyConstraint("tenant", "id"),
    of_case(),
)  # party_sealed: JSON of domain Party

inbox = Table(
    "inbox",
    metadata,
    text("tenant"),
    text("source"),
    text("event_id"),
    text("case_id", nullable=True),
    Column("inbox_seq", BigInteger),
    text("type"),
    text("digest"),
    sealed("body_sealed"),
    text("traceparent", default=""),
    instant("accepted_at"),
    text("accepted_from"),
    instant("consumed_at", nullable=True),
    text("consumed_by", default=""),
    PrimaryKeyConstraint("tenant", "source", "event_id"),
    UniqueConstraint("tenant", "case_id", "inbox_seq"),
    of_case(),
)  # digest: keyed pseudonym (HMAC) of the canonical event; case_id null: no case; a task's act has source `task`

document = Table(
    "document",
    metadata,
    text("tenant"),
    text("id"),
    text("case_id", nullable=True),
    text("event_id"),
    text("piece"),
    sealed("name_sealed"),
    text("media_type"),
    Column("size", BigInteger, nullable=False),
    text("blob"),
    text("status"),
    text("reason", default=""),
    Column("pages", Integer, nullable=False),
    Column[list[str]]("flags", ARRAY(Text), nullable=False),
    text("uploaded_by"),
    instant("received_at"),
    PrimaryKeyConstraint("tenant", "id"),
    ForeignKeyConstraint(["tenant", "blob"], ["blob.tenant", "blob.hash"]),
    of_case(),
)  # event_id '': uploaded, no event yet; status: accepted | unreadable | quarantined

blob = Table(
    "blob",
    metadata,
    text("tenant"),
    text("hash"),
    sealed("bytes_sealed"),
    PrimaryKeyConstraint("tenant", "hash"),
)  # hash: sha256 hex of the ciphertext

page = Table(
    "page",
    metadata,
    text("tenant"),
    text("document_id"),
    Column("page", Integer, nullable=False),
    text("case_id"),
    sealed("text_sealed"),
    PrimaryKeyConstraint("tenant", "document_id", "page"),
    of_case(),
)  # text_sealed: JSON of domain PageText

fact = Table(
    "fact",
    metadata,
    text("tenant"),
    text("case_id"),
    text("name"),
    text("provenance"),
    Column("revision", Integer, nullable=False),
    sealed("fact_sealed"),
    instant("established_at"),
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "case_id", "name", "provenance", "revision"),
    of_case(),
)  # fact_sealed: JSON of domain Fact; provenance: its own, or `person`; highest revision counts; version: of its case

case_past = Table(
    "case_past",
    metadata,
    text("tenant"),
    text("case_id"),
    Column("version", BigInteger, nullable=False),
    text("relation"),
    text("key"),
    Column[Any]("was", JSONB, nullable=False),
    PrimaryKeyConstraint("tenant", "case_id", "relation", "key", "version"),
)  # written by triggers: at this version this row of that table came, or came to stand so; was: its columns in clear
# that change. No key to the case: triggers make it of the case's own row, which stays. store/past.py reads it
