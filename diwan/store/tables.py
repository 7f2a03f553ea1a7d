"""Tables. Every one has `tenant` first in its key and forced row security (migrations/ holds the SQL for it).

Columns named `*_sealed` are ciphertext under a case key (domain/ports.py); ARCHITECTURE.md maps them. All
instants are timestamptz in UTC. `version` counts the case's changes, one ledger entry each.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()


def _instant(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _text(name: str, *, nullable: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=nullable, server_default=default)


def _sealed(name: str, *, nullable: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=nullable)


def _of_case() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant", "case_id"], ["case_file.tenant", "case_file.id"])


# --- the ministry, its sources, its procedures, its delegations ---------------------------------------------------

tenant = Table(
    "tenant", metadata, _text("tenant"), Column[Any]("settings", JSONB, nullable=False), PrimaryKeyConstraint("tenant")
)

source = Table(
    "source",
    metadata,
    _text("tenant"),
    _text("source"),
    _text("client"),
    PrimaryKeyConstraint("tenant", "source", "client"),
)  # client: `sub` of the credential that may speak for this CloudEvents source

webhook = Table(
    "webhook",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("url"),
    _text("secret_name"),
    Column("active", Boolean, nullable=False),
    PrimaryKeyConstraint("tenant", "id"),
)  # secret_name: the relay reads the secret from a file of that name, never from here

procedure_version = Table(
    "procedure_version",
    metadata,
    _text("tenant"),
    _text("name"),
    _text("version"),
    _text("hash"),
    _text("body"),
    _instant("published_at"),
    _text("published_by"),
    PrimaryKeyConstraint("tenant", "name", "version"),
    UniqueConstraint("tenant", "hash"),
)  # body: the YAML as published; hash: sha256 hex of it

delegation = Table(
    "delegation",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("subject"),
    _text("procedure"),
    Column[list[str]]("results", ARRAY(Text), nullable=False),
    Column("amount_limit", BigInteger),
    Column("valid_from", Date, nullable=False),
    Column("valid_to", Date, nullable=False),
    Column("revoked_on", Date),
    _text("reference"),
    PrimaryKeyConstraint("tenant", "id"),
)

numbering = Table(
    "numbering",
    metadata,
    _text("tenant"),
    _text("series"),
    Column("last", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "series"),
)  # case numbers, e.g. series DW-2026 -> DW-2026-000142

# --- the ledger (diwan/ledger/ has the format) ---------------------------------------------------------------------

entry = Table(
    "entry",
    metadata,
    _text("tenant"),
    _text("chain"),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("prev_seq", BigInteger),
    Column("prev_hash", LargeBinary),
    Column("header", LargeBinary, nullable=False),
    _sealed("body_sealed", nullable=True),
    _text("kind"),
    _instant("at"),
    PrimaryKeyConstraint("tenant", "chain", "seq"),
    UniqueConstraint("tenant", "chain", "seq", "hash"),
    ForeignKeyConstraint(
        ["tenant", "chain", "prev_seq", "prev_hash"],
        ["entry.tenant", "entry.chain", "entry.seq", "entry.hash"],
    ),
)  # header: canonical JSON, hashed as stored; body_sealed: salts and what they commit to; prev_seq is generated

# --- the case ------------------------------------------------------------------------------------------------------

case_file = Table(
    "case_file",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("number"),
    _text("source"),
    _text("reference"),
    _text("procedure"),
    _text("procedure_version"),
    _text("procedure_hash"),
    _text("status"),
    _text("language"),
    Column("version", BigInteger, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("changed_in", Text),
    Column[Any]("state", JSONB, nullable=False),
    Column("inbox_last", BigInteger, nullable=False),
    Column("inbox_cursor", BigInteger, nullable=False),
    _text("kind"),
    _instant("wake_at", nullable=True),
    _text("blocked", default=""),
    _instant("opened_at"),
    _instant("closed_at", nullable=True),
    _instant("rung_at", nullable=True),
    Column("rings", Integer, nullable=False, server_default="0"),
    PrimaryKeyConstraint("tenant", "id"),
    UniqueConstraint("tenant", "number"),
    UniqueConstraint("tenant", "source", "reference"),
    ForeignKeyConstraint(
        ["tenant", "id", "version", "head"],
        ["entry.tenant", "entry.chain", "entry.seq", "entry.hash"],
        deferrable=True,
        initially="DEFERRED",
        use_alter=True,
        name="case_file_head",
    ),
    ForeignKeyConstraint(["tenant", "procedure_hash"], ["procedure_version.tenant", "procedure_version.hash"]),
)  # state: domain CaseState; kind, wake_at: its Plan; rung_at, rings: the relay's, not part of the version

party = Table(
    "party",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("case_id"),
    _text("role"),
    _text("language"),
    _sealed("party_sealed"),
    _text("name_token"),
    _text("identity_token"),
    PrimaryKeyConstraint("tenant", "id"),
    _of_case(),
)  # party_sealed: JSON of domain Party

inbox = Table(
    "inbox",
    metadata,
    _text("tenant"),
    _text("source"),
    _text("event_id"),
    _text("case_id", nullable=True),
    Column("inbox_seq", BigInteger),
    _text("type"),
    _text("digest"),
    _sealed("body_sealed"),
    _text("traceparent", default=""),
    _instant("accepted_at"),
    _text("accepted_from"),
    _instant("consumed_at", nullable=True),
    _text("consumed_by", default=""),
    PrimaryKeyConstraint("tenant", "source", "event_id"),
    UniqueConstraint("tenant", "case_id", "inbox_seq"),
    _of_case(),
)  # digest: keyed pseudonym (HMAC) of the canonical event; case_id null: no case; a task's act has source `task`

document = Table(
    "document",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("case_id", nullable=True),
    _text("event_id"),
    _text("piece"),
    _sealed("name_sealed"),
    _text("media_type"),
    Column("size", BigInteger, nullable=False),
    _text("blob"),
    _text("status"),
    _text("reason", default=""),
    Column("pages", Integer, nullable=False),
    Column[list[str]]("flags", ARRAY(Text), nullable=False),
    _text("uploaded_by"),
    _instant("received_at"),
    PrimaryKeyConstraint("tenant", "id"),
    ForeignKeyConstraint(["tenant", "blob"], ["blob.tenant", "blob.hash"]),
    _of_case(),
)  # event_id '': uploaded, no event yet; status: accepted | unreadable | quarantined

blob = Table(
    "blob",
    metadata,
    _text("tenant"),
    _text("hash"),
    _sealed("bytes_sealed"),
    PrimaryKeyConstraint("tenant", "hash"),
)  # hash: sha256 hex of the ciphertext

page = Table(
    "page",
    metadata,
    _text("tenant"),
    _text("document_id"),
    Column("page", Integer, nullable=False),
    _text("case_id"),
    _sealed("text_sealed"),
    PrimaryKeyConstraint("tenant", "document_id", "page"),
    _of_case(),
)  # text_sealed: JSON of domain PageText

fact = Table(
    "fact",
    metadata,
    _text("tenant"),
    _text("case_id"),
    _text("name"),
    _text("provenance"),
    Column("revision", Integer, nullable=False),
    _sealed("fact_sealed"),
    _instant("established_at"),
    PrimaryKeyConstraint("tenant", "case_id", "name", "provenance", "revision"),
    _of_case(),
)  # fact_sealed: JSON of domain Fact; provenance: its own, or `person`; the highest revision counts

# --- agents --------------------------------------------------------------------------------------------------------

agent_run = Table(
    "agent_run",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("case_id"),
    _text("step"),
    Column("visit", Integer, nullable=False),
    _text("spec"),
    _text("prompts"),
    _text("status"),
    _text("outcome", default=""),
    Column("calls", Integer, nullable=False, server_default="0"),
    Column("tokens", BigInteger, nullable=False, server_default="0"),
    _instant("started_at"),
    _instant("ended_at", nullable=True),
    PrimaryKeyConstraint("tenant", "id"),
    UniqueConstraint("tenant", "case_id", "step", "visit"),
    _of_case(),
)  # id = step_key(case, step, visit); status: running | finished | gave_up | cancelled; outcome: machine name

model_call = Table(
    "model_call",
    metadata,
    _text("tenant"),
    _text("run_id"),
    Column("call", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    _text("case_id"),
    _text("model"),
    Column("final", Boolean, nullable=False, server_default="false"),
    _sealed("request_sealed"),
    _sealed("response_sealed", nullable=True),
    _text("status"),
    _text("broken", default=""),
    Column("used", Boolean, nullable=False, server_default="false"),
    Column[Any]("usage", JSONB),
    _text("engine", default=""),
    _instant("started_at"),
    _instant("ended_at", nullable=True),
    PrimaryKeyConstraint("tenant", "run_id", "call", "attempt"),
    ForeignKeyConstraint(["tenant", "run_id"], ["agent_run.tenant", "agent_run.id"]),
    _of_case(),
)  # at most one attempt of a call is `used` (partial unique index); status: sent | answered | late;
# final: the call that asks for the typed answer; broken: endless | junk where the answer could not be read to its end

tool_call = Table(
    "tool_call",
    metadata,
    _text("tenant"),
    _text("run_id"),
    Column("call", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    _text("case_id"),
    _text("tool"),
    _text("effect"),
    _sealed("arguments_sealed"),
    _sealed("result_sealed", nullable=True),
    _text("status"),
    _instant("started_at"),
    _instant("ended_at", nullable=True),
    PrimaryKeyConstraint("tenant", "run_id", "call", "position"),
    ForeignKeyConstraint(["tenant", "run_id"], ["agent_run.tenant", "agent_run.id"]),
    _of_case(),
)  # effect: read | write | irreversible; status: done | refused | failed

proposal = Table(
    "proposal",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("case_id"),
    Column("revision", Integer, nullable=False),
    _text("proposer"),
    _sealed("proposal_sealed"),
    _text("commitment"),
    _instant("made_at"),
    PrimaryKeyConstraint("tenant", "id"),
    UniqueConstraint("tenant", "case_id", "revision"),
    _of_case(),
)  # proposal_sealed: JSON of domain Proposal

# --- people --------------------------------------------------------------------------------------------------------

task = Table(
    "task",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("case_id", nullable=True),
    _text("kind"),
    _text("step"),
    Column("visit", Integer, nullable=False),
    _text("status"),
    _text("assignee", default=""),
    _text("proposer", default=""),
    _text("proposal_id", default=""),
    Column[list[str]]("roles", ARRAY(Text), nullable=False),
    _sealed("shown_sealed"),
    _text("digest"),
    _text("outcome", default=""),
    _text("completed_by", default=""),
    _instant("created_at"),
    _instant("due_at", nullable=True),
    _instant("completed_at", nullable=True),
    PrimaryKeyConstraint("tenant", "id"),
    _of_case(),
)  # digest: sha256 hex of the canonical JSON shown, which has a random salt in it

task_act = Table(
    "task_act",
    metadata,
    _text("tenant"),
    _text("task_id"),
    _text("key"),
    _text("case_id", nullable=True),
    _text("act"),
    _text("subject"),
    _text("request_digest"),
    Column[Any]("answer", JSONB, nullable=False),
    _sealed("reason_sealed", nullable=True),
    _instant("at"),
    PrimaryKeyConstraint("tenant", "task_id", "key"),
    ForeignKeyConstraint(["tenant", "task_id"], ["task.tenant", "task.id"]),
    _of_case(),
)  # key: Idempotency-Key; the same key gives the stored answer, with another request a conflict

decision = Table(
    "decision",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("case_id"),
    _text("result"),
    _sealed("decision_sealed"),
    _text("commitment"),
    _text("signed_by"),
    _text("delegation_id"),
    _instant("signed_at"),
    PrimaryKeyConstraint("tenant", "id"),
    UniqueConstraint("tenant", "case_id"),
    ForeignKeyConstraint(["tenant", "delegation_id"], ["delegation.tenant", "delegation.id"]),
    _of_case(),
)  # decision_sealed: JSON of the Proposal as decided

# --- what goes out -------------------------------------------------------------------------------------------------

letter = Table(
    "letter",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("case_id"),
    _text("kind"),
    _text("language"),
    _text("number"),
    _text("blob"),
    _sealed("content_sealed"),
    _text("template"),
    _instant("made_at"),
    PrimaryKeyConstraint("tenant", "id"),
    ForeignKeyConstraint(["tenant", "blob"], ["blob.tenant", "blob.hash"]),
    _of_case(),
)  # id = step_key(…); content_sealed: the JSON that the PDF was set from; blob: the PDF's ciphertext

notification = Table(
    "notification",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("case_id"),
    _text("letter_id"),
    _text("channel"),
    _instant("sent_at"),
    _instant("received_at", nullable=True),
    _sealed("proof_sealed", nullable=True),
    _text("status"),
    PrimaryKeyConstraint("tenant", "id"),
    ForeignKeyConstraint(["tenant", "letter_id"], ["letter.tenant", "letter.id"]),
    _of_case(),
)  # status: sent | received | returned

outbox = Table(
    "outbox",
    metadata,
    _text("tenant"),
    _text("id"),
    _text("case_id", nullable=True),
    _text("type"),
    Column[Any]("payload", JSONB, nullable=False),
    _text("webhook_id"),
    _instant("created_at"),
    _instant("delivered_at", nullable=True),
    _instant("next_at"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _text("last_status", default=""),
    PrimaryKeyConstraint("tenant", "id"),
    ForeignKeyConstraint(["tenant", "webhook_id"], ["webhook.tenant", "webhook.id"]),
)  # id is the `webhook-id` of every repeat; payload: a CloudEvent with ids and states only; not a child of the version

result_of_key = Table(
    "result_of_key",
    metadata,
    _text("tenant"),
    _text("key"),
    _text("case_id"),
    Column[Any]("result", JSONB, nullable=False),
    PrimaryKeyConstraint("tenant", "key"),
    _of_case(),
)  # stored result of a step (domain step_key): the same key again gives it back and does nothing

# Children of a case: changed only together with its version.
CHILDREN = (
    party,
    inbox,
    document,
    page,
    fact,
    agent_run,
    model_call,
    tool_call,
    proposal,
    task,
    task_act,
    decision,
    letter,
    notification,
    result_of_key,
)
