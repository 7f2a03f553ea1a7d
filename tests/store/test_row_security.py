"""Ministries never see or write each other's rows, whichever table, whichever role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from diwan.domain.errors import Final
from diwan.store.database import Database
from diwan.store.tables import metadata
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT

ALL_TABLES = sorted(table.name for table in metadata.tables.values())
# No ministry's: a GPU serves all of them, and a row says nothing of any (docs/data.md).
OF_NO_TENANT = ["ledger_checkpoint", "ledger_cosigned", "ledger_shard", "ledger_tile", "pool_host"]
TABLES = [table for table in ALL_TABLES if table not in OF_NO_TENANT]
APP_ROLES = ("diwan_web", "diwan_worker", "diwan_pool", "diwan_relay", "diwan_sequencer", "diwan_auditor")

Connection = psycopg.Connection[Any]


@pytest.fixture(params=["diwan_auditor", "diwan_owner"])
def reader(demo: TestDatabase, whole: str, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A connection that may select every table: the auditor's, and the owner's, whom only FORCE holds."""
    connection = psycopg.connect(demo.url(request.param))
    yield connection
    connection.close()


@pytest.mark.parametrize("table", TABLES)
def test_a_table_shows_rows_of_the_transactions_tenant_only(reader: Connection, table: str) -> None:
    assert _count(reader, table) == 0, "no tenant set"
    _set_tenant(reader, "other")
    assert _count(reader, table) == 0, "another tenant"
    _set_tenant(reader, "")
    assert _count(reader, table) == 0, "an empty tenant"
    _set_tenant(reader, TENANT)
    assert _count(reader, table) > 0, "its own"
    reader.commit()
    assert _count(reader, table) == 0, "the setting ends with its transaction"


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_written_for_another_tenant(demo: TestDatabase, whole: str, table: str) -> None:
    connection = psycopg.connect(demo.url("diwan_owner"))
    try:
        _set_tenant(connection, TENANT)
        given = [each for each in metadata.tables[table].columns if each.computed is None]
        columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in given)
        statement = sql.SQL(
            "insert into {0} ({1}) select {1} from (select (jsonb_populate_record(x, %s)).* from {0} x limit 1) y"
        ).format(sql.Identifier(table), columns)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute(statement, [Jsonb({"tenant": "other", "version": 1})])
    finally:
        connection.close()


def test_every_table_forces_row_security(demo: TestDatabase) -> None:
    with demo.superuser() as connection:
        rows = connection.execute(
            "select relname, relrowsecurity, relforcerowsecurity from pg_class "
            "where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and relname <> 'alembic_version'"
        ).fetchall()
    assert sorted(str(row[0]) for row in rows) == ALL_TABLES
    assert {row[1:] for row in rows} == {(True, True)}


def test_no_role_of_ours_skips_row_security_or_owns_anything(demo: TestDatabase) -> None:
    with demo.superuser() as connection:
        roles = connection.execute(
            "select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication from pg_roles "
            "where rolname like 'diwan_%'"
        ).fetchall()
        owners = connection.execute("select distinct tableowner from pg_tables where schemaname = 'public'").fetchall()
        members = connection.execute(
            "select 1 from pg_auth_members m join pg_roles r on r.oid = m.member where r.rolname like 'diwan_%'"
        ).fetchall()
    assert {str(row[0]) for row in roles} == {*APP_ROLES, "diwan_owner"}
    assert {flag for row in roles for flag in row[1:]} == {False}
    assert owners == [("diwan_owner",)]
    assert members == []


async def test_a_process_connects_as_its_own_role_only(demo: TestDatabase) -> None:
    for url, role in ((demo.url("postgres"), "postgres"), (demo.url("diwan_web"), "diwan_worker")):
        wrong = Database.connect(url, role=role)
        with pytest.raises(Final) as caught:
            async with wrong.transaction(TENANT):
                pass
        assert caught.value.code == "database.wrong_role"
        await wrong.dispose()


def _set_tenant(connection: Connection, tenant: str) -> None:
    connection.execute("select set_config('diwan.tenant', %s, true)", [tenant])


def _count(connection: Connection, table: str) -> int:
    row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(table))).fetchone()
    assert row is not None
    return int(row[0])
