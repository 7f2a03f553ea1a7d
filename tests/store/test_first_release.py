"""What a ministry had before the clock was watched is there after the migration, and goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime

import psycopg
import pytest
from psycopg import sql

from diwan.domain.actor import system
from diwan.domain.clock import Reading, Tolerance
from diwan.embedded.postgres import EmbeddedPostgres
from diwan.procedures.examples import example_text
from diwan.procedures.load import hash_of
from diwan.store import cases, migrate
from diwan.store.change import change_case
from diwan.store.clock_watch import ClockWatch, standing
from diwan.store.database import Database
from tests.support.databases import TestDatabase, drop
from tests.support.factories import PROCEDURE

TENANTS = ("housing", "water")
STATE = (
    '{"step": "review", "visit": 1, "visits": {"review": 1}, "flags": [], "pieces_requested": 0, "periods": {}, '
    '"result": null, "return_to": ""}'
)


@pytest.fixture
def first_release(postgres: EmbeddedPostgres, now: datetime) -> Iterator[TestDatabase]:
    """Two ministries with a case each, in the schema of the first migration."""
    made = TestDatabase(postgres, "first_release")
    with psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} owner diwan_owner").format(sql.Identifier(made.name)))
    assert migrate.upgrade(made.url("diwan_owner"), "0001") == "0001"
    with made.superuser() as connection:
        connection.execute("set session_replication_role = replica")  # rows as they lie there, not as they came about
        for tenant in TENANTS:
            _fill(connection, tenant, now)
    yield made
    drop(made)


def _fill(connection: psycopg.Connection[tuple[object, ...]], tenant: str, now: datetime) -> None:
    header, text = b"{}", example_text(PROCEDURE)
    head = hashlib.sha256(header).digest()
    connection.execute("insert into tenant values (%s, '{}')", [tenant])
    connection.execute(
        "insert into procedure_version values (%s, %s, '1.0', %s, %s, %s, 'analyst-1')",
        [tenant, PROCEDURE, hash_of(text), text, now],
    )
    connection.execute(
        "insert into entry (tenant, chain, seq, hash, header, kind, at) values (%s, 'case-1', 1, %s, %s, 'x', %s)",
        [tenant, head, header, now],
    )
    connection.execute(
        "insert into case_file (tenant, id, number, source, reference, procedure, procedure_version, procedure_hash, "
        "status, language, version, head, state, inbox_last, inbox_cursor, kind, opened_at) values (%s, 'case-1', "
        "'DW-2026-000001', 'urn:portal', 'r-1', %s, '1.0', %s, 'open', 'fr', 1, %s, %s, 1, 1, 'task', %s)",
        [tenant, PROCEDURE, hash_of(text), head, STATE, now],
    )
    connection.execute("insert into fact values (%s, 'case-1', 'rooms', 'declared', 1, 'x', %s)", [tenant, now])


async def test_every_ministry_is_watched_and_its_cases_go_on(first_release: TestDatabase, now: datetime) -> None:
    assert migrate.upgrade(first_release.url("diwan_owner")) == migrate.head()
    with first_release.superuser() as connection:
        watched = connection.execute("select tenant, seen_at, anchors, frozen_at from clock_watch order by tenant")
        assert watched.fetchall() == [(tenant, None, {}, None) for tenant in TENANTS]
        instants = connection.execute("select distinct changed_at, traceparent from case_file").fetchall()
        assert instants == [(None, "")]
        known = connection.execute("select tenant, name, version from fact order by tenant").fetchall()
        assert known == [(tenant, "rooms", 1) for tenant in TENANTS], "known since the version that the case had"
        forced = connection.execute("select relforcerowsecurity from pg_class where relname = 'tenant'").fetchall()
        assert forced == [(True,)], "the owner saw every ministry for a moment only"
    worker = Database.connect(first_release.url("diwan_worker"), role="diwan_worker", pool_size=1)
    try:
        for tenant in TENANTS:
            await _goes_on(worker, tenant, now)
    finally:
        await worker.dispose()


async def _goes_on(worker: Database, tenant: str, now: datetime) -> None:
    watch = ClockWatch(lambda: Reading(now, "boot-1", 60.0), Tolerance(), part="worker")
    async with worker.transaction(tenant) as conn:
        assert not (await watch.look(conn, tenant)).frozen
    async with worker.transaction(tenant) as conn, change_case(conn, tenant, "case-1", now=now) as change:
        assert change.now == now, "no instant before it is known"
        change.state.flags.append("seen")
        change.record("case:case:blocked", system(tenant, "worker"), detail={"code": "test"})
    async with worker.transaction(tenant) as conn:
        case = await cases.get_case(conn, tenant, "case-1")
        assert (case.version, case.changed_at, case.state.flags) == (2, now, ["seen"])
        assert not (await standing(conn, tenant)).frozen
