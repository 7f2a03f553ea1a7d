"""Neither a change without a ledger entry nor an entry without a change can be committed, by no role of ours.

Each test breaks one guard's rule with plain SQL, past all of the store's own code.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from diwan.domain.actor import system
from diwan.ledger.entry import EntryActor, EntryHeader, encode, entry_hash
from diwan.store.tables import CHILDREN
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT

Connection = psycopg.Connection[Any]

# The key of each child, as a copy of a row would have it.
KEYS: dict[str, dict[str, Any]] = {
    "party": {"id": "copy"},
    "inbox": {"event_id": "copy", "inbox_seq": 999},
    "document": {"id": "copy"},
    "page": {"page": 99},
    "fact": {"revision": 99},
    "agent_run": {"id": "copy", "visit": 99},
    "model_call": {"attempt": 99, "used": False},
    "model_rerun": {"id": "copy", "key": "copy"},
    "tool_call": {"position": 99},
    "proposal": {"id": "copy", "revision": 99},
    "task": {"id": "copy"},
    "task_act": {"key": "copy"},
    "decision": {"id": "copy"},
    "letter": {"id": "copy", "receipt_chain": None, "receipt_sealed": None},
    "notification": {"id": "copy"},
    "erasure": {"id": "copy"},
    "legal_hold": {"id": "copy"},
}


Work = Callable[[Connection], object]


def commit(database: TestDatabase, work: Work, *, role: str = "postgres") -> None:
    """Does `work` in a transaction of the tenant and commits: that is where deferred guards speak.

    As the superuser, unless told otherwise: what it may not do, no role of ours may.
    """
    connection = psycopg.connect(database.url(role))
    try:
        connection.execute("select set_config('diwan.tenant', %s, true)", [TENANT])
        work(connection)
        connection.commit()
    finally:
        connection.close()


def stands(database: TestDatabase, question: LiteralString, case_id: str) -> int:
    """The one number that is asked for, of what is committed."""
    with database.superuser() as connection:
        row = connection.execute(question, [case_id]).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


def refused(database: TestDatabase, why: str, work: Work, *, role: str = "postgres") -> None:
    with pytest.raises(psycopg.errors.IntegrityError, match=why):
        commit(database, work, role=role)


def next_entry(connection: Connection, case_id: str, *, step: int = 1) -> tuple[int, bytes, bytes, bytes]:
    """seq, hash, previous hash and header of an entry that would follow the case's head."""
    row = connection.execute("select version, head from case_file where id = %s", [case_id]).fetchone()
    assert row is not None
    seq, prev = row[0] + step, bytes(row[1])
    actor = system(TENANT, "test")
    header = encode(
        EntryHeader(
            tenant=TENANT,
            chain=case_id,
            seq=seq,
            prev=prev.hex(),
            at=datetime(2026, 11, 23, tzinfo=UTC),
            kind="case:test:written",
            actor=EntryActor(kind=actor.kind.value, subject=actor.subject),
            case=case_id,
            case_seq=seq,
        )
    )
    return seq, entry_hash(header), prev, header


def insert_entry(connection: Connection, case_id: str, entry: tuple[int, bytes, bytes | None, bytes]) -> None:
    seq, hash_, prev, header = entry
    connection.execute(
        "insert into entry (tenant, chain, seq, hash, prev_hash, header, kind, at) values (%s,%s,%s,%s,%s,%s,%s,now())",
        [TENANT, case_id, seq, hash_, prev, header, "case:test:written"],
    )


def raise_version(connection: Connection, case_id: str, entry: tuple[int, bytes, bytes, bytes]) -> None:
    connection.execute("update case_file set version = %s, head = %s where id = %s", [entry[0], entry[1], case_id])


def test_a_version_with_its_entry_commits(demo: TestDatabase, whole: str) -> None:
    def work(connection: Connection) -> None:
        entry = next_entry(connection, whole)
        raise_version(connection, whole, entry)
        insert_entry(connection, whole, entry)
        connection.execute("update task set due_at = now() where case_id = %s", [whole])

    before = stands(demo, "select version from case_file where id = %s", whole)
    commit(demo, work, role="diwan_worker")
    assert stands(demo, "select version from case_file where id = %s", whole) == before + 1


def test_a_change_without_a_version_is_refused(demo: TestDatabase, whole: str) -> None:
    refused(demo, "raises the version", lambda c: c.execute("update case_file set blocked = 'x'"))


def test_a_version_without_an_entry_is_refused_at_commit(demo: TestDatabase, whole: str) -> None:
    refused(demo, "not that of an entry", lambda c: raise_version(c, whole, next_entry(c, whole)))


def test_the_head_must_be_the_entry_of_that_version(demo: TestDatabase, whole: str) -> None:
    def work(connection: Connection) -> None:
        entry = next_entry(connection, whole)
        raise_version(connection, whole, (entry[0], bytes(32), entry[2], entry[3]))
        insert_entry(connection, whole, entry)

    refused(demo, "not that of an entry", work)


@pytest.mark.parametrize("step", [0, 2, -1])
def test_a_version_goes_up_by_one(demo: TestDatabase, whole: str, step: int) -> None:
    def work(connection: Connection) -> None:
        head = next_entry(connection, whole)[1]
        statement = "update case_file set version = version + %s, head = %s where id = %s"
        connection.execute(statement, [step, head, whole])

    refused(demo, "raises the version", work)


def test_a_transaction_makes_one_version(demo: TestDatabase, whole: str) -> None:
    def work(connection: Connection) -> None:
        for _ in range(2):
            entry = next_entry(connection, whole)
            raise_version(connection, whole, entry)
            insert_entry(connection, whole, entry)

    refused(demo, "one version a transaction", work)


def test_the_mark_of_the_transaction_cannot_be_set_by_hand(demo: TestDatabase, whole: str) -> None:
    def work(connection: Connection) -> None:
        connection.execute("update case_file set changed_in = pg_current_xact_id()::text where id = %s", [whole])
        connection.execute("update task set due_at = now() where case_id = %s", [whole])

    refused(demo, "without a new version", work)


def test_a_case_starts_at_version_one(demo: TestDatabase, whole: str) -> None:
    new = {"id": "c-2", "number": "c-2", "reference": "c-2", "version": 2}
    refused(demo, "starts at version 1", lambda c: copy(c, "case_file", whole, new))


def test_a_case_without_an_entry_is_refused_at_commit(demo: TestDatabase, whole: str) -> None:
    new = {"id": "c-1", "number": "c-1", "reference": "c-1", "version": 1}
    refused(demo, "not that of an entry", lambda c: copy(c, "case_file", whole, new))


def test_an_entry_without_a_change_is_refused_at_commit(demo: TestDatabase, whole: str) -> None:
    for role in ("diwan_worker", "postgres"):
        refused(demo, "without a change", lambda c: insert_entry(c, whole, next_entry(c, whole)), role=role)


def test_an_entry_ahead_of_the_version_is_refused_at_commit(demo: TestDatabase, whole: str) -> None:
    def work(connection: Connection) -> None:
        first = next_entry(connection, whole)
        raise_version(connection, whole, first)
        insert_entry(connection, whole, first)
        insert_entry(connection, whole, next_entry(connection, whole))

    refused(demo, "without a change", work)


def test_an_entry_for_no_case_is_refused_at_commit(demo: TestDatabase, whole: str) -> None:
    statement = (
        "insert into entry (tenant, chain, seq, hash, header, kind, at) values (%s, 'nowhere', 1, %s, '', 'k', now())"
    )
    refused(demo, "without a change", lambda c: c.execute(statement, [TENANT, bytes(32)]))


@pytest.mark.parametrize(("prev", "why"), [(b"\x01" * 32, "does not name the one before"), (None, "entry_check")])
def test_an_entry_names_the_one_before_it(demo: TestDatabase, whole: str, prev: bytes | None, why: str) -> None:
    def work(connection: Connection) -> None:
        seq, hash_, before, header = next_entry(connection, whole)
        raise_version(connection, whole, (seq, hash_, before, header))
        connection.execute(
            "insert into entry (tenant, chain, seq, hash, prev_hash, header, kind, at) "
            "values (%s,%s,%s,%s,%s,%s,'k',now())",
            [TENANT, whole, seq, hash_, prev, header],
        )

    refused(demo, why, work)


@pytest.mark.parametrize("statement", ["update entry set kind = 'x'", "delete from entry", "truncate entry cascade"])
def test_what_stands_on_the_ledger_stays_even_for_the_superuser(
    demo: TestDatabase, whole: str, statement: LiteralString
) -> None:
    refused(demo, "what is written stays", lambda c: c.execute(statement))


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("update procedure_version set body = body || ' '", "what is published stays"),
        ("update procedure_version set published_at = now()", "what is published stays"),
        ("delete from procedure_version", "what is published stays"),
        ("truncate procedure_version cascade", "what is published stays"),
        ("update delegation set amount_limit = null, revoked_on = null", "revoked, not changed"),
        ("update delegation set valid_to = valid_to + 1", "revoked, not changed"),
        ("update delegation set subject = 'x'", "revoked, not changed"),
        ("delete from delegation", "revoked, not changed"),
        ("truncate delegation cascade", "revoked, not changed"),
    ],
)
def test_what_cases_were_decided_by_stays_even_for_the_superuser(
    demo: TestDatabase, whole: str, statement: LiteralString, why: str
) -> None:
    refused(demo, why, lambda c: c.execute(statement))


@pytest.mark.parametrize("child", [table.name for table in CHILDREN])
def test_no_child_of_a_case_changes_without_a_version(demo: TestDatabase, whole: str, child: str) -> None:
    """An update that changes nothing is change enough; so is an insert."""
    key = sql.Identifier(next(iter(KEYS[child])))
    update = sql.SQL("update {0} set {1} = {1} where case_id = %s").format(sql.Identifier(child), key)
    refused(demo, "without a new version", lambda c: c.execute(update, [whole]))

    if child != "decision":  # a case has one
        refused(demo, "without a new version", lambda c: copy(c, child, whole, KEYS[child]))


@pytest.mark.parametrize(
    "child", sorted({table.name for table in CHILDREN} - {"letter", "task", "agent_run", "model_call"})
)
def test_no_child_of_a_case_goes_without_a_version(demo: TestDatabase, whole: str, child: str) -> None:
    """The four left out are kept by the foreign keys of others."""
    delete = sql.SQL("delete from {} where case_id = %s").format(sql.Identifier(child))
    refused(demo, "without a new version", lambda c: c.execute(delete, [whole]))


def test_a_fact_says_with_which_version_of_its_case_it_came(demo: TestDatabase, whole: str) -> None:
    def work(connection: Connection, off: int) -> None:
        entry = next_entry(connection, whole)
        copy(connection, "fact", whole, {"revision": 98, "version": entry[0] + off})
        raise_version(connection, whole, entry)
        insert_entry(connection, whole, entry)

    for off in (-1, 1):
        refused(demo, "without a new version", lambda connection, off=off: work(connection, off))
    commit(demo, lambda connection: work(connection, 0))
    assert stands(demo, "select count(*) from fact where case_id = %s and revision = 98", whole) == 1


def test_a_request_to_a_model_is_no_change_but_its_answer_is(demo: TestDatabase, whole: str) -> None:
    new = {"attempt": 50, "used": False, "status": "sent"}
    commit(demo, lambda c: copy(c, "model_call", whole, new), role="diwan_pool")
    assert stands(demo, "select count(*) from model_call where attempt = 50 and case_id = %s", whole) == 1
    answer = "update model_call set status = 'answered' where attempt = 50"
    refused(demo, "without a new version", lambda c: c.execute(answer), role="diwan_pool")


def test_the_pool_adds_a_version_with_its_entry(demo: TestDatabase, whole: str) -> None:
    def work(connection: Connection) -> None:
        entry = next_entry(connection, whole)
        raise_version(connection, whole, entry)
        insert_entry(connection, whole, entry)

    before = stands(demo, "select version from case_file where id = %s", whole)
    commit(demo, work, role="diwan_pool")
    assert stands(demo, "select version from case_file where id = %s", whole) == before + 1


@pytest.mark.parametrize(
    "change",
    [
        "status = 'open'",
        "state = '{}'",
        "kind = 'task'",
        "wake_at = now()",
        "blocked = 'x'",
        "inbox_last = inbox_last + 1",
        "inbox_cursor = 0",
        "number = 'x'",
        "reference = 'x'",
        "rings = 7",
    ],
)
def test_the_pool_changes_nothing_of_a_case_but_its_version(
    demo: TestDatabase, whole: str, change: LiteralString
) -> None:
    """Even with a version and an entry, which the case worker could commit."""

    def work(connection: Connection) -> None:
        entry = next_entry(connection, whole)
        statement = sql.SQL("update case_file set version = %s, head = %s, {} where id = %s").format(sql.SQL(change))
        connection.execute(statement, [entry[0], entry[1], whole])
        insert_entry(connection, whole, entry)

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        commit(demo, work, role="diwan_pool")


def test_the_pool_writes_on_chains_of_cases_only(demo: TestDatabase, whole: str) -> None:
    def work(connection: Connection) -> None:
        entry = next_entry(connection, whole)
        insert_entry(connection, "refusals/clerk-1", (1, entry[1], None, entry[3]))

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="pool_on_cases"):
        commit(demo, work, role="diwan_pool")


def test_a_call_has_one_used_answer(demo: TestDatabase, whole: str) -> None:
    refused(demo, "model_call_used", lambda c: copy(c, "model_call", whole, {"attempt": 60}))


@pytest.mark.parametrize(
    ("table", "changed", "why"),
    [
        ("case_file", {"id": "c-3", "number": "c-3", "version": 1}, "case_file_tenant_source_reference_key"),
        ("case_file", {"id": "c-3", "reference": "c-3", "version": 1}, "case_file_tenant_number_key"),
        ("inbox", {"inbox_seq": 999}, "inbox_pkey"),
        ("inbox", {"event_id": "copy"}, "inbox_tenant_case_id_inbox_seq_key"),
    ],
)
def test_references_numbers_and_events_are_there_once(
    demo: TestDatabase, whole: str, table: str, changed: dict[str, Any], why: str
) -> None:
    refused(demo, why, lambda c: copy(c, table, whole, changed))


def test_a_child_keeps_its_case(demo: TestDatabase, whole: str) -> None:
    refused(demo, "keeps its case", lambda c: c.execute("update task set case_id = null where case_id = %s", [whole]))


def test_the_relays_columns_are_no_part_of_the_version(demo: TestDatabase, whole: str) -> None:
    before = stands(demo, "select version from case_file where id = %s", whole)
    commit(demo, lambda c: c.execute("update case_file set rung_at = now(), rings = 3"), role="diwan_relay")
    assert stands(demo, "select rings from case_file where id = %s", whole) == 3
    assert stands(demo, "select version from case_file where id = %s", whole) == before


def copy(connection: Connection, table: str, case_id: str, changed: dict[str, Any]) -> None:
    """Inserts a row of the case again with some columns changed."""
    column = "id" if table == "case_file" else "case_id"
    statement = sql.SQL(
        "insert into {0} select (jsonb_populate_record(x, %s)).* from {0} x where {1} = %s limit 1"
    ).format(sql.Identifier(table), sql.Identifier(column))
    assert connection.execute(statement, [Jsonb(changed), case_id]).rowcount == 1


@pytest.mark.parametrize("role", ["postgres", "diwan_web", "diwan_worker"])
@pytest.mark.parametrize(
    ("chain", "kind"), [("receipts/forged", "letter:receipt:issued"), ("elsewhere/x", "letter:receipt:replaced")]
)
def test_a_receipt_of_no_letter_is_refused(demo: TestDatabase, role: str, chain: str, kind: str) -> None:
    header = encode(
        EntryHeader(
            tenant=TENANT,
            chain=chain,
            seq=1,
            at=datetime.now(UTC),
            kind=kind,
            actor=EntryActor(kind="system", subject="worker"),
        )
    )
    refused(
        *(demo, "a receipt of no letter"),
        lambda c: c.execute(
            "insert into entry (tenant, chain, seq, hash, header, kind, at) values (%s, %s, 1, %s, %s, %s, now())",
            [TENANT, chain, entry_hash(header), header, kind],
        ),
        role=role,
    )
