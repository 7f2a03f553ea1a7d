"""Each role may do what its process does and nothing else."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from diwan.store.tables import metadata
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT

TABLES = sorted(table.name for table in metadata.tables.values())
APP_ROLES = ("diwan_web", "diwan_worker", "diwan_pool", "diwan_relay", "diwan_sequencer", "diwan_auditor")

# All that each role may do, as "table" or, for single columns, "table(column, …)". Nothing but what its process does.
TREE = ("ledger_checkpoint", "ledger_cosigned", "ledger_leaf", "ledger_shard", "ledger_tile")
PENDING = "ledger_pending"
INDEX = ("ledger_index", "ledger_index_reach")  # filled by searches
ALL = tuple(TABLES)
MATRIX: dict[tuple[str, str], tuple[str, ...]] = {
    ("diwan_web", "SELECT"): ALL,
    ("diwan_web", "INSERT"): (
        *("blob", "case_file", "document", "entry", "erasure", "fact", "inbox", *INDEX, "legal_hold", "model_rerun"),
        *("numbering", "party", "procedure_version", "proposal", "task", "task_act"),
    ),
    ("diwan_web", "UPDATE"): (
        *("case_file", "clock_watch", "document", "erasure(decided_at, decided_by, status)", INDEX[1] + "(reach)"),
        *("legal_hold(lifted_at, lifted_because_sealed, lifted_by)", "numbering", "task"),
    ),
    ("diwan_worker", "SELECT"): tuple(table for table in ALL if table not in (PENDING, *INDEX, *TREE)),
    ("diwan_worker", "INSERT"): (
        *("agent_run", "blob", "decision", "entry", "erasure", "fact", "letter", "notification", "outbox", "page"),
        *("proposal", "scope_erasure", "task", "tool_call"),
        "workflow_run(case_id, look_at, run_id, seen_at, tenant, workflow_id)",
    ),
    ("diwan_worker", "UPDATE"): (
        *("agent_run", "case_file", "clock_watch", "document", "erasure(done_at, started_at, status)", "inbox"),
        *("model_rerun(ended_at, reason, status)", "notification", "scope_erasure(done_at, started_at)", "task"),
        "workflow_run(blob, closed_at, digest, entry_seq, look_at, missing_since, state)",
    ),
    ("diwan_pool", "SELECT"): (
        *(
            "agent_run",
            "case_file",
            "document",
            "entry",
            "fact",
            "model_call",
            "model_rerun",
            "page",
            "pool_host",
            "procedure_version",
            "tenant(settings, tenant)",  # the policy on engines outside the perimeter
            "tool_call",
        ),
    ),
    ("diwan_pool", "INSERT"): ("entry", "model_call", "pool_host"),
    ("diwan_pool", "UPDATE"): (
        "agent_run(calls, tokens)",
        "case_file(changed_at, head, version)",
        "model_call(broken, ended_at, engine, reason, response_sealed, status, usage, used)",
        "model_rerun(conditions, ended_at, reason, report_sealed, response_sealed, status)",
        "pool_host",
    ),
    ("diwan_relay", "SELECT"): (
        "case_file(blocked, id, inbox_cursor, inbox_last, kind, number, opened_at, procedure, rings, rung_at, state, "
        "status, tenant, traceparent, version, wake_at)",
        "clock_watch(frozen_at, stands_at, tenant)",
        "document(id, received_at, tenant)",  # of uploads that no event has named: tests/relay/test_uploads.py
        "entry(at, chain, seq, tenant)",
        "inbox(accepted_at, case_id, inbox_seq, tenant)",
        "model_rerun(asked_at, case_id, id, status, tenant)",
        "outbox",
        "task(case_id, created_at, kind, status, step, tenant, visit)",
        "tenant(tenant, weight)",
        "webhook",
        "workflow_run(closed_at, look_at, state, tenant)",
    ),
    ("diwan_relay", "UPDATE"): ("case_file(rings, rung_at)", "outbox(attempts, delivered_at, last_status, next_at)"),
    ("diwan_sequencer", "SELECT"): (*TREE[:3], PENDING, *TREE[3:]),
    ("diwan_sequencer", "INSERT"): TREE,
    ("diwan_sequencer", "UPDATE"): (
        "ledger_checkpoint(note, published_at, root, size)",
        "ledger_cosigned(cosigned_at, note, witnesses)",
        "ledger_shard(root, size)",
        "ledger_tile(hashes)",
    ),
    ("diwan_auditor", "SELECT"): ALL,
}


@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE", "REFERENCES"])
@pytest.mark.parametrize("role", APP_ROLES)
def test_a_role_may_do_this_and_nothing_else(demo: TestDatabase, role: str, right: str) -> None:
    assert _rights_in_full(demo, role, right) == list(MATRIX.get((role, right), ()))


@pytest.mark.parametrize("role", APP_ROLES)
def test_nobody_deletes_or_truncates_but_the_sequencer_what_is_placed_or_outdone(demo: TestDatabase, role: str) -> None:
    assert _rights(demo, role, "DELETE") == (["ledger_cosigned", PENDING] if role == "diwan_sequencer" else [])
    assert _rights(demo, role, "TRUNCATE") == []
    assert _rights(demo, role, "TRIGGER") == []


def test_six_functions_do_more_than_their_caller_may_and_one_role_each_may_call_them(demo: TestDatabase) -> None:
    """They remove an upload that no event has named, a host that is long gone, and by what the people of an erased case
    were found: nothing else ever goes. One has entries wait for another place whose log was left before it was signed
    (tests/sequencer/test_closed_logs.py). One says of every leaf of the tree which ministry's it is, one whose letter
    it is whose code somebody has, and no more."""
    asked = (
        "select p.proname, r.rolname from pg_proc p cross join pg_roles r where p.prosecdef "
        "and p.pronamespace = 'public'::regnamespace and r.rolname = any(%s) "
        "and has_function_privilege(r.oid, p.oid, 'EXECUTE') order by 1"
    )
    with demo.superuser() as connection:
        assert connection.execute(asked, [list(APP_ROLES)]).fetchall() == [
            ("diwan_forget_hosts", "diwan_relay"),
            ("diwan_forget_parties", "diwan_worker"),
            ("diwan_leaves", "diwan_auditor"),
            ("diwan_move_tail", "diwan_sequencer"),
            ("diwan_receipt", "diwan_web"),
            ("diwan_remove_upload", "diwan_relay"),
        ]


@pytest.mark.parametrize("role", ["diwan_web", "diwan_worker", "diwan_pool"])
@pytest.mark.parametrize("statement", ["update entry set kind = 'x'", "delete from entry", "truncate entry"])
def test_an_application_cannot_touch_what_stands_on_the_ledger(
    demo: TestDatabase, whole: str, role: str, statement: LiteralString
) -> None:
    _denied(demo, role, statement)


def test_the_relay_sees_envelopes_only(demo: TestDatabase, whole: str) -> None:
    with psycopg.connect(demo.url("diwan_relay")) as connection:
        seen = connection.execute("select tenant, id, inbox_last, inbox_cursor from case_file").fetchall()
        assert (TENANT, whole) in [row[:2] for row in seen]
        assert connection.execute("select id from outbox").fetchall() != []
    sealed_or_personal = {
        "case_file": ("reference", "head", "source"),
        "inbox": ("body_sealed", "event_id", "source", "type"),
        "entry": ("header", "body_sealed", "kind"),
        "task": ("shown_sealed", "assignee", "completed_by", "proposer"),
        "document": ("name_sealed", "event_id", "uploaded_by", "blob"),
        "model_rerun": ("response_sealed", "report_sealed", "asked_by", "conditions"),
        "workflow_run": ("run_id", "case_id", "digest", "blob"),
    }
    for table, columns in sealed_or_personal.items():
        for column in columns:
            _denied(demo, "diwan_relay", _select(column, table))
    for table in ("party", "blob", "fact", "decision", "letter"):
        _denied(demo, "diwan_relay", _select("tenant", table))
    _denied(demo, "diwan_relay", "update case_file set status = 'closed'")


def _select(column: str, table: str) -> sql.Composed:
    return sql.SQL("select {} from {}").format(sql.Identifier(column), sql.Identifier(table))


def _rights(database: TestDatabase, role: str, right: str) -> list[str]:
    """Tables on which the role holds the right as a whole."""
    with database.superuser() as connection:
        rows = connection.execute(
            "select t from unnest(%s::text[]) t where has_table_privilege(%s, 'public.' || t, %s) order by t",
            [TABLES, role, right],
        ).fetchall()
    return [str(row[0]) for row in rows]


def _rights_in_full(database: TestDatabase, role: str, right: str) -> list[str]:
    """Tables on which the role holds the right, with the columns where it is not the whole table."""
    whole = _rights(database, role, right)
    with database.superuser() as connection:
        rows = connection.execute(
            "select table_name, string_agg(column_name, ', ' order by column_name) from information_schema.columns "
            "where table_name = any(%s) and has_column_privilege(%s, 'public.' || table_name, column_name, %s) "
            "group by table_name",
            [sorted(set(TABLES) - set(whole)), role, right],
        ).fetchall()
    return sorted([*whole, *(f"{table}({columns})" for table, columns in rows)])


def _denied(database: TestDatabase, role: str, statement: LiteralString | sql.Composed) -> None:
    connection: psycopg.Connection[Any] = psycopg.connect(database.url(role))
    try:
        connection.execute("select set_config('diwan.tenant', %s, true)", [TENANT])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
    finally:
        connection.close()
