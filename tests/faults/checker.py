"""Decides from outside whether anything was lost, doubled, or cannot be explained. Shares no code with the service.

    report = check(Evidence(database=conninfo, sent=…, acted=…, delivered=…))

Reads Postgres as the superuser in one snapshot, past all rights, and the logs of those who stand outside: what the
sender and the people were answered, what the webhook's receiver got. Formats are read as docs/adr/0002 and
docs/data.md write them down. Each thing that is wrong is a finding with a name; checks/ has them all.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tests.faults.checks import cases, deliveries, events, ledger, letters, reminders, runs, tasks, tree
from tests.faults.evidence import Evidence, Finding, Report, Row, Stored

__all__ = ["Evidence", "Finding", "Report", "check"]

_TABLES = {
    "case_file": "id",
    "inbox": "inbox_seq",
    "entry": "chain, seq",
    "task": "created_at, id",
    "task_act": "at",
    "decision": "id",
    "letter": "made_at, id",
    "notification": "id",
    "outbox": "created_at, id",
    "webhook": "id",
    "agent_run": "id",
    "model_call": "run_id, call, attempt",
    "tool_call": "run_id, call, position",
    "numbering": "series",
    "ledger_pending": "tenant, chain, seq",
    "ledger_leaf": "shard, idx",
    "ledger_shard": "name",
    "ledger_tile": "shard, level, idx",
    "ledger_checkpoint": "shard, hour",
    "ledger_cosigned": "shard, size",
}


def check(evidence: Evidence) -> Report:
    """Everything that can be said of a service at rest: nothing under way, nobody sending."""
    with psycopg.connect(evidence.database) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        return judge(read(connection), evidence)


def judge(stored: Stored, evidence: Evidence) -> Report:
    """As `check`, of rows that were read before."""
    report = Report()
    stored = stored if evidence.at is None else replace(stored, now=evidence.at)
    for part in (ledger, tree, cases, events, tasks, letters, reminders, runs, deliveries):
        part.check(stored, evidence, report)
    return report


def read(connection: psycopg.Connection[Any]) -> Stored:
    """All that is judged, as the superuser's transaction sees it."""
    cursor = connection.cursor(row_factory=dict_row)
    cursor.execute("set local row_security = off")
    cursor.execute("set local timezone = 'UTC'")
    tables = {table: _rows(cursor, table, order) for table, order in _TABLES.items()}
    now = cursor.execute("select now()").fetchone()
    for entry in tables["entry"]:
        entry["said"] = _said(entry["header"])
        entry["detail"] = entry["said"].get("detail", {})
    assert now is not None
    return Stored(tables, now["now"])


def _rows(cursor: psycopg.Cursor[Row], table: str, order: str) -> list[Row]:
    columns = cursor.execute(
        "select column_name from information_schema.columns where table_schema = 'public' and table_name = %s", [table]
    )
    names = [row["column_name"] for row in columns if not row["column_name"].endswith("_sealed")]
    chosen = sql.SQL(", ").join(map(sql.Identifier, names))
    query = sql.SQL("select {} from {} order by {}").format(
        chosen, sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, order.split(", ")))
    )
    return cursor.execute(query).fetchall()


def _said(header: bytes) -> Row:
    try:
        said = json.loads(header)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
