"""Runs of workflows as Postgres knows them, and where the history of each is kept."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, PrimaryKeyConstraint, Table

from diwan.store.tables.columns import instant, metadata, of_case, text

workflow_run = Table(
    "workflow_run",
    metadata,
    text("tenant"),
    text("run_id"),
    text("workflow_id"),
    text("case_id"),
    text("state", default="open"),
    instant("seen_at"),
    instant("look_at"),
    instant("closed_at", nullable=True),
    instant("missing_since", nullable=True),
    text("digest", default=""),
    text("blob", nullable=True),
    Column("entry_seq", BigInteger),
    PrimaryKeyConstraint("tenant", "run_id"),
    ForeignKeyConstraint(["tenant", "blob"], ["blob.tenant", "blob.hash"]),
    of_case(),
)  # state: open | kept | lost | erased; look_at: when it is looked whether it has ended; closed_at: it has, and its
# history is still to be kept; missing_since: Temporal has not known it since; digest: SHA-256 (hex) of the history's
# JSON, which the entry `entry_seq` names; blob: its ciphertext, deflated before it is sealed (class decision)
