"""A published procedure is what its hash and its entry say, when it is used and when the ledger is verified."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, LiteralString

import psycopg
import pytest

from diwan.domain.errors import Disposition, Tampered
from diwan.procedures.load import hash_of
from diwan.store import procedures
from diwan.store.database import Database
from diwan.store.ledger_check import Report, verify_tenant
from tests.support.databases import TestDatabase
from tests.support.factories import PROCEDURE, TENANT

CHAIN = f"procedures/{PROCEDURE}"


@pytest.fixture
async def auditor(demo: TestDatabase) -> AsyncIterator[Database]:
    pool = Database.connect(demo.url("diwan_auditor"), role="diwan_auditor", pool_size=1)
    yield pool
    await pool.dispose()


@pytest.fixture
def tamper(demo: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    """The superuser with all triggers and foreign keys off. Undone after the test."""
    connection = psycopg.connect(demo.url("postgres"), autocommit=True)
    connection.execute("set session_replication_role = replica")
    connection.execute("create temp table kept as select * from procedure_version")
    connection.execute("create temp table kept_entry as select * from entry")
    yield connection
    connection.execute("delete from procedure_version")
    connection.execute("insert into procedure_version select * from kept")
    connection.execute("delete from entry where chain like 'procedures/%'")
    columns: LiteralString = "tenant, chain, seq, hash, prev_hash, header, body_sealed, kind, at"
    connection.execute(
        f"insert into entry ({columns}) select {columns} from kept_entry "  # noqa: S608
        "where chain like 'procedures/%'"
    )
    connection.close()


async def verify(auditor: Database, chain: str | None = None) -> Report:
    async with auditor.transaction(TENANT, snapshot=True) as conn:
        return await verify_tenant(conn, TENANT, chain=chain)


async def test_a_text_that_is_not_its_hash_is_never_applied(
    web: Database, tamper: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procedures, "_KNOWN", {})
    async with web.transaction(TENANT) as conn:
        there = await procedures.published(conn, TENANT, PROCEDURE)
        assert there.procedure.name == PROCEDURE
        tamper.execute("update procedure_version set body = body || E'\n# and one more\n'")
        changed = await procedures.published_by_hash(conn, TENANT, there.hash)
        with pytest.raises(Tampered, match="diwan ledger verify") as caught:
            _ = changed.procedure
        assert (caught.value.code, caught.value.disposition) == ("procedure.text_differs", Disposition.PERSON)
        with pytest.raises(Tampered):
            _ = changed.text
        with pytest.raises(Tampered):
            await procedures.procedure_of(conn, TENANT, there.hash)
        tamper.execute("update procedure_version set body = %s", [there.body])
        assert await procedures.procedure_of(conn, TENANT, there.hash) == there.procedure


async def test_every_version_is_the_one_that_its_entry_published(auditor: Database, demo: TestDatabase) -> None:
    report = await verify(auditor)
    assert (report.first_bad, report.procedures) == (None, 1)


@pytest.mark.parametrize(
    ("statement", "seq", "reason"),
    [
        ("update procedure_version set body = body || ' '", 1, "procedure.text_differs"),
        ("update procedure_version set published_at = published_at + interval '1 s'", 1, "procedure.row_differs"),
        ("update procedure_version set published_by = 'nobody'", 1, "procedure.row_differs"),
        ("update procedure_version set version = '99'", 1, "procedure.row_differs"),
        ("delete from procedure_version", 1, "procedure.row_missing"),
        ("delete from entry where chain like 'procedures/%'", 0, "procedure.entry_missing"),
    ],
)
async def test_a_version_that_is_not_what_an_entry_published_is_named(
    auditor: Database, tamper: psycopg.Connection[Any], statement: LiteralString, seq: int, reason: str
) -> None:
    tamper.execute(statement)
    bad = (await verify(auditor)).first_bad
    assert bad is not None
    assert (bad.tenant, bad.chain, bad.seq, bad.reason) == (TENANT, CHAIN, seq, reason)


async def test_a_version_that_no_entry_published_is_named_by_its_number(
    auditor: Database, tamper: psycopg.Connection[Any], web: Database
) -> None:
    """One that fits its own hash, and would be taken for the newest."""
    async with web.transaction(TENANT) as conn:
        there = await procedures.published(conn, TENANT, PROCEDURE)
    other = there.body + "\n# planted\n"
    tamper.execute(
        "insert into procedure_version select tenant, name, '99', %s, %s, published_at + interval '1 s', published_by "
        "from procedure_version",
        [hash_of(other), other],
    )
    bad = (await verify(auditor)).first_bad
    assert bad is not None
    assert (bad.chain, bad.reason, "version 99" in bad.text) == (CHAIN, "procedure.entry_missing", True)


async def test_an_entry_under_a_procedure_that_nobody_published_is_named(
    auditor: Database, tamper: psycopg.Connection[Any], whole: str
) -> None:
    """As is left where one was planted, applied and taken out: all entries are under the one that is published."""
    assert (await verify(auditor)).first_bad is None
    tamper.execute("delete from entry where chain like 'procedures/%'")
    tamper.execute("delete from procedure_version")
    bad = (await verify(auditor)).first_bad
    assert bad is not None
    assert (bad.chain, bad.seq, bad.reason) == (whole, 1, "procedure.unpublished")
