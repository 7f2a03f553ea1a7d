"""Tasks, acts and decisions of people."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ForeignKeyConstraint, Integer, PrimaryKeyConstraint, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from diwan.store.tables.columns import instant, metadata, of_case, sealed, text

task = Table(
    "task",
    metadata,
    text("tenant"),
    text("id"),
    text("case_id", nullable=True),
    text("kind"),
    text("step"),
    Column("visit", Integer, nullable=False),
    text("status"),
    text("assignee", default=""),
    text("proposer", default=""),
    text("proposal_id", default=""),
    Column[list[str]]("roles", ARRAY(Text), nullable=False),
    sealed("shown_sealed"),
    text("digest"),
    text("outcome", default=""),
    text("completed_by", default=""),
    instant("created_at"),
    instant("due_at", nullable=True),
    instant("completed_at", nullable=True),
    instant("reminded_at", nullable=True),
    PrimaryKeyConstraint("tenant", "id"),
    of_case(),
)  # digest: sha256 hex of the canonical JSON shown, which has a random salt in it; reminded_at: the latest time

task_act = Table(
    "task_act",
    metadata,
    text("tenant"),
    text("task_id"),
    text("key"),
    text("case_id", nullable=True),
    text("act"),
    text("subject"),
    text("request_digest"),
    Column[Any]("answer", JSONB, nullable=False),
    sealed("reason_sealed", nullable=True),
    instant("at"),
    PrimaryKeyConstraint("tenant", "task_id", "key"),
    ForeignKeyConstraint(["tenant", "task_id"], ["task.tenant", "task.id"]),
    of_case(),
)  # key: Idempotency-Key; the same key gives the stored answer, with another request a conflict

decision = Table(
    "decision",
    metadata,
    text("tenant"),
    text("id"),
    text("case_id"),
    text("result"),
    sealed("decision_sealed"),
    text("commitment"),
    text("signed_by"),
    text("delegation_id"),
    instant("signed_at"),
    PrimaryKeyConstraint("tenant", "id"),
    UniqueConstraint("tenant", "case_id"),
    ForeignKeyConstraint(["tenant", "delegation_id"], ["delegation.tenant", "delegation.id"]),
    of_case(),
)  # decision_sealed: JSON of the Proposal as decided
