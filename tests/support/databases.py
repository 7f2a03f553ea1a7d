"""Databases of a test server: one migrated template, copied for each test module."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

import psycopg
from psycopg import sql

from diwan.embedded.postgres import EmbeddedPostgres
from diwan.store.migrate import upgrade

TEMPLATE = "diwan_template"


@dataclass(frozen=True)
class TestDatabase:
    """One database: `url(role)` for each role of Diwan, and `postgres` for the server's superuser."""

    __test__ = False
    server: EmbeddedPostgres
    name: str

    def url(self, role: str) -> str:
        return self.server.url(role, self.name)

    def superuser(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection past all rights and row security, to look at or tamper with what is stored."""
        return psycopg.connect(self.url("postgres"), autocommit=True)

    async def until_someone_waits(self) -> None:
        """Returns when a transaction waits for another's lock."""
        waiting = "select 1 from pg_stat_activity where datname = %s and cardinality(pg_blocking_pids(pid)) > 0"
        async with asyncio.timeout(20):
            with self.superuser() as connection:
                while connection.execute(waiting, [self.name]).fetchone() is None:  # noqa: ASYNC110 - a server's state
                    await asyncio.sleep(0)


def make_template(server: EmbeddedPostgres) -> None:
    """An empty migrated database; made by the owner's role as `diwan migrate` does."""
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} owner diwan_owner").format(sql.Identifier(TEMPLATE)))
    upgrade(server.url("diwan_owner", TEMPLATE))


def copy_of_template(server: EmbeddedPostgres) -> TestDatabase:
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {} owner diwan_owner").format(
                sql.Identifier(name), sql.Identifier(TEMPLATE)
            )
        )
    return TestDatabase(server, name)


def drop(database: TestDatabase) -> None:
    with psycopg.connect(database.server.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(database.name)))
