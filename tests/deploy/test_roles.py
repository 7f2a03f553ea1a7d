"""deploy/roles.sql: an administrator's script after which `diwan migrate` and each process's role work."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from diwan.embedded.postgres import ROLES, EmbeddedPostgres
from diwan.store import migrate

SCRIPT = (Path(__file__).resolve().parents[2] / "deploy" / "roles.sql").read_text()


class Bare(EmbeddedPostgres):
    """A server in which nothing was made for us."""

    def provision(self) -> None:
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as connection:
            connection.execute("create database diwan")


@pytest.fixture
def bare(tmp_path: Path) -> Generator[EmbeddedPostgres]:
    server = Bare(tmp_path / "postgres", durable=False)
    server.start()
    yield server
    server.remove()


def test_the_script_makes_roles_that_can_migrate_and_work(bare: EmbeddedPostgres) -> None:
    with psycopg.connect(bare.url("postgres"), autocommit=True) as connection:
        for _ in range(2):  # may be repeated
            connection.execute(SCRIPT.encode())
        for role in ROLES:
            password = (bare.secrets_dir / f"postgres-{role}").read_text().strip()
            connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password)))
        unsafe = connection.execute(
            "select rolname from pg_roles where rolname like 'diwan%' and (rolsuper or rolbypassrls or rolcreaterole)"
        ).fetchall()
    assert unsafe == []
    assert migrate.upgrade(bare.url("diwan_owner")) == migrate.head()
    for role in ROLES[1:]:
        with psycopg.connect(bare.url(role)) as connection:
            assert connection.execute("select count(*) from alembic_version").fetchone() == (1,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("create table mine (x int)")
