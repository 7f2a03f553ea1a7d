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
APP_ROLES = ("diwan_web", "diwan_worker", "diwan_pool", "diwan_relay", "diwan_auditor")

# What is written once and never again, by anybody.
WRITTEN_ONCE = ("entry", "party", "page", "fact", "blob", "proposal", "task_act", "decision", "letter", "result_of_key")


@pytest.mark.parametrize("role", APP_ROLES)
def test_nobody_deletes_or_truncates(demo: TestDatabase, role: str) -> None:
    assert _rights(demo, role, "DELETE") == []
    assert _rights(demo, role, "TRUNCATE") == []
    assert _rights(demo, role, "TRIGGER") == []


@pytest.mark.parametrize("role", APP_ROLES)
def test_what_is_written_once_is_not_updated(demo: TestDatabase, role: str) -> None:
    assert set(_rights(demo, role, "UPDATE")).isdisjoint(WRITTEN_ONCE)


@pytest.mark.parametrize("role", ["diwan_web", "diwan_worker", "diwan_pool"])
@pytest.mark.parametrize("statement", ["update entry set kind = 'x'", "delete from entry", "truncate entry"])
def test_an_application_cannot_touch_what_stands_on_the_ledger(
    demo: TestDatabase, whole: str, role: str, statement: LiteralString
) -> None:
    _denied(demo, role, statement)


def test_the_auditor_only_reads(demo: TestDatabase) -> None:
    for right in ("INSERT", "UPDATE"):
        assert _rights(demo, "diwan_auditor", right) == []
    assert _rights(demo, "diwan_auditor", "SELECT") == TABLES


def test_the_relay_sees_envelopes_only(demo: TestDatabase, whole: str) -> None:
    assert _rights(demo, "diwan_relay", "SELECT") == ["outbox", "webhook"]
    for right in ("INSERT", "UPDATE"):
        assert _rights(demo, "diwan_relay", right) == []
    with psycopg.connect(demo.url("diwan_relay")) as connection:
        seen = connection.execute("select tenant, id, inbox_last, inbox_cursor from case_file").fetchall()
        assert (TENANT, whole) in [row[:2] for row in seen]
        assert connection.execute("select id from outbox").fetchall() != []
    for column in ("state", "reference", "head"):
        _denied(demo, "diwan_relay", sql.SQL("select {} from case_file").format(sql.Identifier(column)))
    for table in ("party", "inbox", "entry", "document", "task"):
        _denied(demo, "diwan_relay", sql.SQL("select 1 from {}").format(sql.Identifier(table)))
    _denied(demo, "diwan_relay", "update case_file set status = 'closed'")


def test_the_pool_writes_calls_and_nothing_of_people(demo: TestDatabase) -> None:
    assert _rights(demo, "diwan_pool", "INSERT") == ["entry", "model_call"]
    assert _rights(demo, "diwan_pool", "UPDATE") == ["agent_run", "case_file", "model_call"]
    assert set(_rights(demo, "diwan_pool", "SELECT")).isdisjoint({"task", "task_act", "decision", "inbox", "blob"})


def test_only_the_owner_says_who_may_send_and_sign(demo: TestDatabase) -> None:
    for role in APP_ROLES:
        written = {*_rights(demo, role, "INSERT"), *_rights(demo, role, "UPDATE")}
        assert written.isdisjoint({"tenant", "source", "webhook", "delegation"})


def test_only_the_worker_decides_and_writes_letters(demo: TestDatabase) -> None:
    for table in ("decision", "letter", "notification"):
        assert [role for role in APP_ROLES if table in _rights(demo, role, "INSERT")] == ["diwan_worker"]


def _rights(database: TestDatabase, role: str, right: str) -> list[str]:
    """Tables on which the role holds the right as a whole."""
    with database.superuser() as connection:
        rows = connection.execute(
            "select t from unnest(%s::text[]) t where has_table_privilege(%s, 'public.' || t, %s) order by t",
            [TABLES, role, right],
        ).fetchall()
    return [str(row[0]) for row in rows]


def _denied(database: TestDatabase, role: str, statement: LiteralString | sql.Composed) -> None:
    connection: psycopg.Connection[Any] = psycopg.connect(database.url(role))
    try:
        connection.execute("select set_config('diwan.tenant', %s, true)", [TENANT])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
    finally:
        connection.close()
