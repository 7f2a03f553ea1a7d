"""`diwan ledger verify` names the first bad entry, whatever was tampered with and by whomever."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any, LiteralString

import orjson
import psycopg
import pytest

from diwan.domain.actor import system
from diwan.domain.errors import Final
from diwan.domain.ports import RetentionClass
from diwan.ledger.entry import canonical, check_header, digest_of, encode, entry_hash
from diwan.store.change import change_case
from diwan.store.database import Database
from diwan.store.entries import append_entry, body_context
from diwan.store.ledger_check import Report, verify_tenant
from tests.store.conftest import NOW
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT
from tests.support.keyring import MemoryKeyring


@pytest.fixture
async def auditor(demo: TestDatabase, whole: str) -> AsyncIterator[Database]:
    pool = Database.connect(demo.url("diwan_auditor"), role="diwan_auditor", pool_size=1)
    yield pool
    await pool.dispose()


@pytest.fixture
def tamper(demo: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    """The superuser with all triggers and foreign keys off: an administrator who means it. Undone after the test."""
    connection = psycopg.connect(demo.url("postgres"))
    connection.execute("set session_replication_role = replica")
    connection.execute("create temp table kept_entry as select * from entry")
    connection.execute("create temp table kept_case as select * from case_file")
    connection.commit()
    yield connection
    connection.rollback()
    connection.execute("delete from entry")
    connection.execute("delete from case_file")
    columns: LiteralString = "tenant, chain, seq, hash, prev_hash, header, body_sealed, kind, at"
    connection.execute(f"insert into entry ({columns}) select {columns} from kept_entry")  # noqa: S608
    connection.execute("insert into case_file select * from kept_case")
    connection.commit()
    connection.close()


async def verify(auditor: Database, keyring: MemoryKeyring | None = None, chain: str | None = None) -> Report:
    async with auditor.transaction(TENANT, snapshot=True) as conn:
        return await verify_tenant(conn, TENANT, keyring=keyring, chain=chain)


async def test_what_was_written_holds(auditor: Database, keyring: MemoryKeyring, whole: str) -> None:
    report = await verify(auditor, keyring)
    assert report.first_bad is None
    assert (report.entries, report.chains, report.cases) == (15, 4, 1)
    assert (report.bodies, report.erased) == (12, 0)
    assert (await verify(auditor, chain=whole)).entries == 12


async def test_a_growing_ledger_is_verified_in_a_snapshot(auditor: Database) -> None:
    with pytest.raises(Final):
        async with auditor.transaction(TENANT) as conn:
            await verify_tenant(conn, TENANT)


@pytest.mark.parametrize(
    ("statement", "seq", "reason"),
    [
        ("update entry set header = header || ' ' where seq = 3 and chain = %s", 3, "entry.hash_differs"),
        (
            "update entry set hash = decode(repeat('00', 32), 'hex') where seq = 4 and chain = %s",
            4,
            "entry.hash_differs",
        ),
        (
            "update entry set prev_hash = decode(repeat('00', 32), 'hex') where seq = 5 and chain = %s",
            5,
            "entry.link_differs",
        ),
        ("delete from entry where seq = 2 and chain = %s", 2, "entry.missing"),
        ("delete from entry where seq = 1 and chain = %s", 1, "entry.missing"),
        ("update entry set kind = 'other' where seq = 2 and chain = %s", 2, "entry.columns_differ"),
        ("update entry set at = at + interval '1 s' where seq = 2 and chain = %s", 2, "entry.columns_differ"),
        ("delete from entry where seq = 12 and chain = %s", 11, "case.head_differs"),
        ("update case_file set version = 10 where id = %s", 12, "case.head_differs"),
        ("delete from entry where chain = %s", 1, "entry.missing"),
        ("delete from case_file where id = %s", 12, "case.missing"),
        ("update entry set body_sealed = null where seq = 5 and chain = %s", 5, "body.missing"),
    ],
)
async def test_the_first_bad_entry_is_named(
    auditor: Database,
    tamper: psycopg.Connection[Any],
    whole: str,
    statement: LiteralString,
    seq: int,
    reason: str,
) -> None:
    tamper.execute(statement, [whole])
    tamper.commit()
    bad = (await verify(auditor)).first_bad
    assert bad is not None
    assert (bad.tenant, bad.chain, bad.seq, bad.reason) == (TENANT, whole, seq, reason)


async def test_a_rewritten_history_shows_in_the_next_entry(
    auditor: Database, tamper: psycopg.Connection[Any], whole: str
) -> None:
    """Someone who recomputes the hash as well has to rewrite every entry after it."""
    row = tamper.execute("select header from entry where chain = %s and seq = 3", [whole]).fetchone()
    assert row is not None
    forged = encode(check_header(bytes(row[0])).model_copy(update={"purpose": "forged"}))
    tamper.execute(
        "update entry set header = %s, hash = %s where chain = %s and seq = 3", [forged, entry_hash(forged), whole]
    )
    tamper.commit()
    bad = (await verify(auditor)).first_bad
    assert bad is not None
    assert (bad.seq, bad.reason) == (4, "entry.link_differs")


async def test_a_sealed_body_must_be_what_was_committed_to(
    auditor: Database,
    keyring: MemoryKeyring,
    tamper: psycopg.Connection[Any],
    whole: str,
) -> None:
    """Whoever has the keys can seal another body, but not one that the header commits to."""
    cipher = await keyring.cipher(TENANT, whole)
    place = body_context(whole, 3)
    row = tamper.execute("select body_sealed from entry where chain = %s and seq = 3", [whole]).fetchone()
    assert row is not None
    body = orjson.loads(cipher.open(RetentionClass.DECISION, place, bytes(row[0])))
    other = {"said": "other"}
    salt, _ = body["committed"]["state_after"]
    fitting = [salt, base64.b64encode(digest_of(canonical(other))).decode()]
    for changed in (
        {**body, "body": other},
        {**body, "body": {"Not a name": 1}},
        {**body, "seed": base64.b64encode(bytes(32)).decode()},
        {**body, "seed": base64.b64encode(bytes(31)).decode()},
        {name: value for name, value in body.items() if name != "seed"},
        {name: value for name, value in body.items() if name != "body"},
        {"body": other, "committed": {**body["committed"], "body": fitting}},
        {**body, "committed": {**body["committed"], "request": fitting}},
    ):
        sealed = cipher.seal(RetentionClass.DECISION, place, orjson.dumps(changed))
        tamper.execute("update entry set body_sealed = %s where chain = %s and seq = 3", [sealed, whole])
        tamper.commit()
        assert (await verify(auditor)).first_bad is None, "without keys the headers alone still hold"
        bad = (await verify(auditor, keyring)).first_bad
        assert bad is not None
        assert (bad.seq, bad.reason) == (3, "body.commitment_differs")
    tamper.execute("update entry set body_sealed = 'x' where chain = %s and seq = 3", [whole])
    tamper.commit()
    bad = (await verify(auditor, keyring)).first_bad
    assert bad is not None
    assert bad.reason == "body.does_not_open"


async def test_a_row_changed_past_the_ledger_shows(
    auditor: Database,
    keyring: MemoryKeyring,
    tamper: psycopg.Connection[Any],
    whole: str,
    now: datetime,
) -> None:
    tamper.execute("update case_file set state = jsonb_set(state, '{result}', '\"refused\"') where id = %s", [whole])
    tamper.commit()
    bad = (await verify(auditor, keyring)).first_bad
    assert bad is not None
    assert (bad.seq, bad.reason) == (12, "case.state_differs")


async def test_a_date_before_that_of_the_entry_before_is_told_and_is_no_finding(
    auditor: Database, whole: str, worker: Database, now: datetime
) -> None:
    """Appended with a false date by whoever may write entries; and by the service itself after its clock was set back,
    which stamps what comes with the time that it is then. The two look alike."""

    async def appended(at: datetime) -> None:
        async with worker.transaction(TENANT) as conn:
            await append_entry(conn, TENANT, "tests/dates", "tests:entry:written", system(TENANT, "t"), now=at)

    assert (await verify(auditor)).odd_dates.count == 0
    for minutes in (0, 30, -30):  # what waited for another, or another machine's clock
        await appended(now + timedelta(minutes=minutes))
    assert (await verify(auditor)).odd_dates.count == 0
    await appended(now - timedelta(days=40))
    await appended(now)
    report = await verify(auditor)
    assert (report.first_bad, report.odd_dates.count) == (None, 1)
    (odd,) = report.odd_dates.first
    assert (odd.chain, odd.seq, odd.reason) == ("tests/dates", 4, "date.before_predecessor")
    assert "clock/watch" in str(odd)

    async with (
        worker.transaction(TENANT) as conn,
        change_case(conn, TENANT, whole, now=NOW - timedelta(hours=2)) as change,
    ):
        change.record("case:step:moved", system(TENANT, "worker"))
    report = await verify(auditor)
    assert (report.first_bad, [each.chain for each in report.odd_dates.first]) == (None, [whole, "tests/dates"])
    alone = await verify(auditor, chain=whole)
    assert [(each.chain, each.seq) for each in alone.odd_dates.first] == [(whole, 13)]


async def test_many_odd_dates_are_counted_and_the_first_of_them_named(
    auditor: Database, worker: Database, now: datetime
) -> None:
    async with worker.transaction(TENANT) as conn:
        for n in range(30):
            at = now - timedelta(hours=2 * n)
            await append_entry(conn, TENANT, "tests/back", "tests:entry:written", system(TENANT, "t"), now=at)
    report = await verify(auditor, chain="tests/back")
    assert (report.odd_dates.count, len(report.odd_dates.first)) == (29, 20)
