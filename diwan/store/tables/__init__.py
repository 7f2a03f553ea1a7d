"""Tables. Every one has forced row security (migrations/ holds the SQL for it), and `tenant` first in its key but for
`pool_host` and the ledger's tree (pool.py and ledger.py say why).

Columns named `*_sealed` are ciphertext under a case key (domain/ports.py); ARCHITECTURE.md maps them. All
instants are timestamptz in UTC. `version` counts the case's changes, one ledger entry each.
"""

from __future__ import annotations

from diwan.store.tables.agents import agent_run, model_call, model_rerun, proposal, tool_call
from diwan.store.tables.casework import blob, case_file, case_past, document, fact, inbox, page, party
from diwan.store.tables.columns import metadata
from diwan.store.tables.erasing import erasure, legal_hold, scope_erasure
from diwan.store.tables.histories import workflow_run
from diwan.store.tables.ledger import (
    ledger_checkpoint,
    ledger_cosigned,
    ledger_index,
    ledger_index_reach,
    ledger_leaf,
    ledger_pending,
    ledger_shard,
    ledger_tile,
)
from diwan.store.tables.ministry import (
    clock_watch,
    delegation,
    entry,
    numbering,
    procedure_version,
    source,
    tenant,
    webhook,
)
from diwan.store.tables.outgoing import letter, notification, outbox
from diwan.store.tables.people import decision, task, task_act
from diwan.store.tables.pool import pool_host

__all__ = [
    "CHILDREN",
    "agent_run",
    "blob",
    "case_file",
    "case_past",
    "clock_watch",
    "decision",
    "delegation",
    "document",
    "entry",
    "erasure",
    "fact",
    "inbox",
    "ledger_checkpoint",
    "ledger_cosigned",
    "ledger_index",
    "ledger_index_reach",
    "ledger_leaf",
    "ledger_pending",
    "ledger_shard",
    "ledger_tile",
    "legal_hold",
    "letter",
    "metadata",
    "model_call",
    "model_rerun",
    "notification",
    "numbering",
    "outbox",
    "page",
    "party",
    "pool_host",
    "procedure_version",
    "proposal",
    "scope_erasure",
    "source",
    "task",
    "task_act",
    "tenant",
    "tool_call",
    "webhook",
    "workflow_run",
]

# Children of a case: changed only together with its version.
CHILDREN = (
    party,
    inbox,
    document,
    page,
    fact,
    agent_run,
    model_call,
    model_rerun,
    tool_call,
    proposal,
    task,
    task_act,
    decision,
    letter,
    notification,
    erasure,
    legal_hold,
)
