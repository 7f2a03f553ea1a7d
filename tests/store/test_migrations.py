"""The migrations make the tables that the code names, wherever they are installed."""

from __future__ import annotations

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from diwan.store import migrate
from diwan.store.tables import metadata
from tests.support.databases import TestDatabase


def test_the_newest_migration_is_the_one_we_think(database: TestDatabase) -> None:
    assert migrate.head() == "0027"
    assert migrate.current(database.url("diwan_owner")) == "0027"


def test_migrating_again_changes_nothing(database: TestDatabase) -> None:
    assert migrate.upgrade(database.url("diwan_owner")) == "0027"


def test_the_tables_are_those_of_the_code(database: TestDatabase) -> None:
    engine = create_engine(migrate.driver_url(database.url("diwan_owner")))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = [item for item in compare_metadata(context, metadata) if item[0] != "remove_index"]
    engine.dispose()
    assert differences == []


def test_every_role_reads_the_revision(database: TestDatabase) -> None:
    for role in ("diwan_web", "diwan_worker", "diwan_pool", "diwan_relay", "diwan_sequencer", "diwan_auditor"):
        with psycopg.connect(database.url(role)) as connection:
            assert connection.execute("select version_num from alembic_version").fetchall() == [("0027",)]
