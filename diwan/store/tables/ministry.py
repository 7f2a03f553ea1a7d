"""The ministry, its sources, procedures and delegations; and the ledger (diwan/ledger/ has its format)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    Column,
    Computed,
    Date,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from diwan.store.tables.columns import instant, metadata, sealed, text

tenant = Table(
    "tenant",
    metadata,
    text("tenant"),
    Column[Any]("settings", JSONB, nullable=False),
    Column("weight", REAL, Computed("coalesce((settings -> 'weight')::real, 1)"), nullable=False),
    PrimaryKeyConstraint("tenant"),
)

source = Table(
    "source",
    metadata,
    text("tenant"),
    text("source"),
    text("client"),
    PrimaryKeyConstraint("tenant", "source", "client"),
)  # client: `sub` of the credential that may speak for this CloudEvents source

clock_watch = Table(
    "clock_watch",
    metadata,
    text("tenant"),
    instant("seen_at", nullable=True),
    Column[Any]("anchors", JSONB, nullable=False, server_default="{}"),
    instant("frozen_at", nullable=True),
    instant("stands_at", nullable=True),
    text("reason", default=""),
    Column("off_s", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("tenant"),
)  # anchors: a machine's boot → its wall clock and steady clock when first trusted; the rest: store/clock_watch.py

webhook = Table(
    "webhook",
    metadata,
    text("tenant"),
    text("id"),
    text("url"),
    text("secret_name"),
    Column("active", Boolean, nullable=False),
    PrimaryKeyConstraint("tenant", "id"),
)  # secret_name: the relay reads the secret from a file of that name, never from here

procedure_version = Table(
    "procedure_version",
    metadata,
    text("tenant"),
    text("name"),
    text("version"),
    text("hash"),
    text("body"),
    instant("published_at"),
    text("published_by"),
    PrimaryKeyConstraint("tenant", "name", "version"),
    UniqueConstraint("tenant", "hash"),
)  # body: the YAML as published; hash: sha256 hex of it

delegation = Table(
    "delegation",
    metadata,
    text("tenant"),
    text("id"),
    text("subject"),
    text("procedure"),
    Column[list[str]]("results", ARRAY(Text), nullable=False),
    Column("amount_limit", BigInteger),
    Column("valid_from", Date, nullable=False),
    Column("valid_to", Date, nullable=False),
    Column("revoked_on", Date),
    text("reference"),
    PrimaryKeyConstraint("tenant", "id"),
)

numbering = Table(
    "numbering",
    metadata,
    text("tenant"),
    text("series"),
    Column("last", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "series"),
)  # case numbers, e.g. series DW-2026 -> DW-2026-000142


entry = Table(
    "entry",
    metadata,
    text("tenant"),
    text("chain"),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("prev_hash", LargeBinary),
    Column("header", LargeBinary, nullable=False),
    sealed("body_sealed", nullable=True),
    text("kind"),
    instant("at"),
    PrimaryKeyConstraint("tenant", "chain", "seq"),
)  # header: canonical JSON, hashed as stored; body_sealed: salts and what they commit to
