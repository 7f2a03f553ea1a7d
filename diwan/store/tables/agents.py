"""Agent runs, and what was proposed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

from diwan.store.tables.columns import instant, metadata, of_case, sealed, text

agent_run = Table(
    "agent_run",
    metadata,
    text("tenant"),
    text("id"),
    text("case_id"),
    text("step"),
    Column("visit", Integer, nullable=False),
    text("spec"),
    text("prompts"),
    text("status"),
    text("outcome", default=""),
    Column("calls", Integer, nullable=False, server_default="0"),
    Column("tokens", BigInteger, nullable=False, server_default="0"),
    instant("started_at"),
    instant("ended_at", nullable=True),
    PrimaryKeyConstraint("tenant", "id"),
    UniqueConstraint("tenant", "case_id", "step", "visit"),
    of_case(),
)  # id = step_key(case, step, visit); status: running | finished | gave_up | cancelled; outcome: machine name

model_call = Table(
    "model_call",
    metadata,
    text("tenant"),
    text("run_id"),
    Column("call", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    text("case_id"),
    text("model"),
    Column("final", Boolean, nullable=False, server_default="false"),
    sealed("request_sealed"),
    sealed("response_sealed", nullable=True),
    text("status"),
    text("reason", default=""),
    text("host", default=""),
    text("broken", default=""),
    Column("used", Boolean, nullable=False, server_default="false"),
    Column[Any]("usage", JSONB),
    text("engine", default=""),
    instant("started_at"),
    instant("ended_at", nullable=True),
    PrimaryKeyConstraint("tenant", "run_id", "call", "attempt"),
    ForeignKeyConstraint(["tenant", "run_id"], ["agent_run.tenant", "agent_run.id"]),
    of_case(),
)  # at most one attempt of a call is `used` (partial unique index); status: sent | answered | late |
# failed, with the machine name of the fault as reason; one that stays sent was lost with its worker, or cancelled;
# final: the call that asks for the typed answer; broken: endless | junk where the answer could not be read to its end

model_rerun = Table(
    "model_rerun",
    metadata,
    text("tenant"),
    text("id"),
    text("case_id"),
    text("run_id"),
    Column("call", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("entry_seq", BigInteger, nullable=False),
    text("asked_by"),
    text("key"),
    text("status", default="asked"),
    text("reason", default=""),
    Column[Any]("conditions", JSONB),
    sealed("response_sealed", nullable=True),
    sealed("report_sealed", nullable=True),
    instant("asked_at"),
    instant("ended_at", nullable=True),
    PrimaryKeyConstraint("tenant", "id"),
    UniqueConstraint("tenant", "asked_by", "key"),
    ForeignKeyConstraint(
        ["tenant", "run_id", "call", "attempt"],
        ["model_call.tenant", "model_call.run_id", "model_call.call", "model_call.attempt"],
    ),
    of_case(),
)  # an answer asked for again. status: domain Outcome, at most one `asked` of an attempt (partial unique index);
# number: of the call in its case; entry_seq: the entry of its answer; key: Idempotency-Key; reason: why it was not run;
# conditions: JSON of domain Conditions; report_sealed: JSON of agents Comparison

tool_call = Table(
    "tool_call",
    metadata,
    text("tenant"),
    text("run_id"),
    Column("call", Integer, nullable=False),
    Column("position", Integer, nullable=False),
    text("case_id"),
    text("tool"),
    text("effect"),
    sealed("arguments_sealed"),
    sealed("result_sealed", nullable=True),
    text("status"),
    instant("started_at"),
    instant("ended_at", nullable=True),
    PrimaryKeyConstraint("tenant", "run_id", "call", "position"),
    ForeignKeyConstraint(["tenant", "run_id"], ["agent_run.tenant", "agent_run.id"]),
    of_case(),
)  # effect: read | write | irreversible; status: done | refused | failed

proposal = Table(
    "proposal",
    metadata,
    text("tenant"),
    text("id"),
    text("case_id"),
    Column("revision", Integer, nullable=False),
    text("proposer"),
    sealed("proposal_sealed"),
    text("commitment"),
    instant("made_at"),
    PrimaryKeyConstraint("tenant", "id"),
    UniqueConstraint("tenant", "case_id", "revision"),
    of_case(),
)  # proposal_sealed: JSON of domain Proposal
