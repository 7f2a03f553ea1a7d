"""What is asked to be erased, and the legal holds that keep it (docs/erasure.md)."""

from __future__ import annotations

from sqlalchemy import Column, Date, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from diwan.store.tables.columns import instant, metadata, of_case, sealed, text

erasure = Table(
    "erasure",
    metadata,
    text("tenant"),
    text("id"),
    text("case_id"),
    Column[list[str]]("classes", ARRAY(Text), nullable=False),
    text("ground"),
    text("legal_basis"),
    sealed("reason_sealed", nullable=True),
    Column("kept_until", Date, nullable=True),
    text("status", default="asked"),
    text("asked_by"),
    instant("asked_at"),
    text("decided_by", default=""),
    instant("decided_at", nullable=True),
    instant("started_at", nullable=True),
    instant("done_at", nullable=True),
    PrimaryKeyConstraint("tenant", "id"),
    of_case(),
)  # legal_basis: names a text of law, no person; kept_until: the last day, where retention is the ground

legal_hold = Table(
    "legal_hold",
    metadata,
    text("tenant"),
    text("id"),
    text("case_id"),
    sealed("reason_sealed"),
    text("placed_by"),
    instant("placed_at"),
    text("lifted_by", default=""),
    instant("lifted_at", nullable=True),
    sealed("lifted_because_sealed", nullable=True),
    PrimaryKeyConstraint("tenant", "id"),
    of_case(),
)  # several may be on a case at once; it is held while one is not lifted

scope_erasure = Table(
    "scope_erasure",
    metadata,
    text("tenant"),
    text("scope"),
    text("rule"),
    Column("kept_from", Date, nullable=False),
    Column("kept_until", Date, nullable=True),
    instant("started_at", nullable=True),
    instant("done_at", nullable=True),
    PrimaryKeyConstraint("tenant", "scope"),
)  # keys that are no case's, from when nobody can use any more what they sealed; kept_until: not of uploads
