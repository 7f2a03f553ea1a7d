"""Reads what is compared of a case: its entries, the keys and states of its rows, the histories that are kept of it.

For the auditor's role, in a snapshot, a case at a time: of a ministry's cases no more than one is in memory.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from hashlib import sha256
from typing import Any

import orjson
from pydantic import ValidationError
from sqlalchemy import text

from diwan.domain.errors import Final, NotFound, Tampered
from diwan.domain.ports import Cipher, RetentionClass
from diwan.ledger.entry import commit
from diwan.ledger.history import History, read_history, whole
from diwan.ledger.receipt import FACTS, Facts
from diwan.ledger.receipt_code import chain_of
from diwan.ledger.retrace import Retraced
from diwan.ledger.twins import CaseData, Found, Said
from diwan.procedures.steps import TaskStep
from diwan.store.connection import Connection
from diwan.store.documents import read_blob
from diwan.store.histories import open_history, runs_of, sealed_history
from diwan.store.procedures import published_by_hash
from diwan.store.receipts import open_receipt

_PAGE = 200


async def cases_of(conn: Connection, tenant: str, after: str) -> list[str]:
    """A page of the ids of all cases; `after` is the last of the page before."""
    rows = await conn.execute(_CASES, {"tenant": tenant, "after": after, "limit": _PAGE})
    return list(rows.scalars())


_CASES = text("SELECT id FROM case_file WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :limit")


async def read_case(conn: Connection, tenant: str, case_id: str) -> CaseData:
    """`conn` is of a snapshot. Raises `NotFound`."""
    parameters = {"tenant": tenant, "case": case_id}
    case = (await conn.execute(_CASE, parameters)).mappings().one_or_none()
    if case is None:
        raise NotFound("case.unknown", "There is no such case.", "Check its number.")
    entries = [
        Said(row.seq, bytes(row.hash), orjson.loads(row.header)) for row in await conn.execute(_ENTRIES, parameters)
    ]
    rows: dict[str, Sequence[Any]] = {}
    for table, statement in _ROWS.items():
        rows[table] = (await conn.execute(statement, parameters)).mappings().all()
    receipts: dict[str, list[Said]] = {}
    for row in await conn.execute(_RECEIPTS, parameters):
        receipts.setdefault(row.chain, []).append(Said(row.seq, bytes(row.hash), orjson.loads(row.header)))
    steps = await _task_steps(conn, tenant, case["procedure_hash"])
    return CaseData({**case}, entries, rows, steps or frozenset(), receipts, procedure_holds=steps is not None)


async def _task_steps(conn: Connection, tenant: str, digest: str) -> frozenset[str] | None:
    """None where the procedure's stored text is not the one that was published."""
    try:
        procedure = (await published_by_hash(conn, tenant, digest)).procedure
    except Tampered:
        return None
    return frozenset(name for name, step in procedure.steps.items() if isinstance(step, TaskStep))


async def orphans(conn: Connection, tenant: str) -> AsyncGenerator[tuple[str, str]]:
    """(chain, table): entries and rows of cases that there are not."""
    for table, statement in _ORPHANS.items():
        for chain in (await conn.execute(statement, {"tenant": tenant})).scalars():
            yield chain, table


async def open_receipts(conn: Connection, tenant: str, data: CaseData, cipher: Cipher | None, found: Found) -> None:
    """What the chains of a case's letters commit to is of the letters that are stored. No `cipher`: only counted."""
    for row in data.rows["letter"]:
        chain = row["receipt_chain"]
        if chain is None:
            continue
        if cipher is None:
            found.counts["receipts not opened"] += 1
            continue
        try:
            facts, salt = open_receipt(cipher, row["id"], row["receipt_sealed"])
            pdf = await read_blob(conn, tenant, row["blob"], row["id"], RetentionClass.DECISION, cipher)
        except NotFound as error:
            if error.code == "blob.missing":
                found.find("letter.bytes_missing", row["id"], "its row is there, and its bytes are gone")
            else:
                _erased(data, "receipt", row["id"], found)
            continue
        except Tampered as error:
            found.find(error.code, row["id"], error.message)
            continue
        found.counts["receipts opened"] += 1
        told = next((each.detail.get(FACTS) for each in data.receipts.get(chain, ())), None)
        if not _same(told, chain, facts, salt, pdf):
            found.find("receipt.facts_differ", chain, "its entry commits to other facts than this letter's")


def _same(told: object, chain: str, facts: bytes, salt: bytes, pdf: bytes) -> bool:
    try:
        said = Facts.model_validate_json(facts)
        return (told, chain) == (commit(salt, facts), chain_of(said.code)) and said.pdf == sha256(pdf).hexdigest()
    except (ValidationError, Final):  # no facts, or a salt that binds nothing
        return False


def _erased(data: CaseData, what: str, where: str, found: Found) -> None:
    """Its key is gone: with an erasure that the ledger tells of, or without one."""
    if data.erased:
        found.counts[_ERASED[what]] += 1
    else:
        found.find(f"{what}.erased_untold", where, "its key is gone, and no entry tells of an erasure")


_ERASED = {"receipt": "receipts erased", "history": "histories erased"}


async def kept_histories(
    conn: Connection, tenant: str, data: CaseData, cipher: Cipher | None, found: Found
) -> list[Retraced]:
    """Those that are kept, opened and read; what does not open or is not whole is found. No `cipher`: only counted."""
    read: list[Retraced] = []
    for row in await runs_of(conn, tenant, data.id):
        found.counts["workflow runs"] += 1
        if row.state == "erased":
            found.counts["histories erased"] += 1
        if row.state != "kept":
            continue
        if cipher is None:
            found.counts["histories not opened"] += 1
            continue
        try:
            content = open_history(cipher, row, await sealed_history(conn, row))
            history: History = whole(read_history(content, row.workflow_id))
        except NotFound as error:
            if error.code == "blob.missing":
                found.find("history.bytes_missing", row.run_id, "kept, by its row, and its bytes are gone")
            else:
                _erased(data, "history", row.run_id, found)
        except Tampered as error:
            found.find(error.code, row.run_id, error.message)
        else:
            read.append(Retraced(row.run_id, row.workflow_id, history))
    return read


_CASE = text(
    "SELECT id, number, procedure_hash, status, version, head, inbox_last, inbox_cursor, state FROM case_file "
    "WHERE tenant = :tenant AND (id = :case OR number = :case)"
)
_ENTRIES = text("SELECT seq, hash, header FROM entry WHERE tenant = :tenant AND chain = :case ORDER BY seq")

_RECEIPTS = text(
    "SELECT e.chain, e.seq, e.hash, e.header FROM letter l JOIN entry e ON e.tenant = l.tenant "
    "AND e.chain = l.receipt_chain WHERE l.tenant = :tenant AND l.case_id = :case ORDER BY e.chain, e.seq"
)


def _rows(columns: str, table: str) -> Any:
    return text(f"SELECT {columns} FROM {table} WHERE tenant = :tenant AND case_id = :case")  # noqa: S608 - ours


_ROWS = {
    # An event that came again under another id is of no case, and names the first, which is.
    "inbox": text(
        "SELECT case_id, source, event_id, inbox_seq, type, consumed_at FROM inbox i "
        "WHERE tenant = :tenant AND (case_id = :case OR (case_id IS NULL AND consumed_by <> '' AND EXISTS "
        "(SELECT FROM inbox f WHERE f.tenant = i.tenant AND f.source = i.source AND f.event_id = i.consumed_by "
        "AND f.case_id = :case)))"
    ),
    "document": _rows("id", "document"),
    "fact": text(
        "SELECT version, count(*) AS count FROM fact WHERE tenant = :tenant AND case_id = :case GROUP BY version"
    ),
    "page": _rows("count(*) AS count", "page"),
    "party": _rows("count(*) AS count", "party"),
    "agent_run": _rows("id, step, visit, status", "agent_run"),
    "model_call": _rows("run_id, call, attempt, status, used", "model_call"),
    "tool_call": _rows("run_id, call, position, tool", "tool_call"),
    "model_rerun": _rows("id, status", "model_rerun"),
    "proposal": _rows("id", "proposal"),
    "task": _rows("id, kind, step, visit, status", "task"),
    "task_act": _rows("task_id, act", "task_act"),
    "decision": _rows("id, result, signed_by", "decision"),
    "letter": _rows("id, number, blob, receipt_chain, receipt_sealed", "letter"),
    "notification": _rows("letter_id, channel", "notification"),
    "outbox": _rows("id, type, payload->>'id' AS event", "outbox"),
    "erasure": _rows("id, classes, ground, asked_by, kept_until, legal_basis, status, decided_by", "erasure"),
    "legal_hold": _rows("id, placed_by, lifted_by", "legal_hold"),
    "workflow_run": _rows("run_id, workflow_id, state, digest, entry_seq, closed_at, missing_since", "workflow_run"),
}
_ORPHANS = {
    "entry": text(
        "SELECT DISTINCT chain FROM entry e WHERE tenant = :tenant AND position('/' IN chain) = 0 AND NOT EXISTS "
        "(SELECT FROM case_file c WHERE c.tenant = e.tenant AND c.id = e.chain)"
    ),
    "task": text(
        "SELECT id FROM task t WHERE tenant = :tenant AND case_id IS NULL AND NOT EXISTS "
        "(SELECT FROM entry e WHERE e.tenant = t.tenant AND e.chain = 'stray/' || t.id)"
    ),
    # Of what belongs to no case keys are destroyed by two entries and a row beside them, each not without the others.
    "scope_erasure": text(
        "SELECT coalesce(s.scope, e.chain) FROM (SELECT scope, num_nonnulls(started_at, done_at) AS steps "
        "FROM scope_erasure WHERE tenant = :tenant) s FULL JOIN (SELECT chain, count(*) AS steps FROM entry "
        "WHERE tenant = :tenant AND kind IN ('scope:erasure:started', 'scope:keys:destroyed') GROUP BY chain) e "
        "ON e.chain = s.scope WHERE coalesce(s.steps, 0) <> coalesce(e.steps, 0) ORDER BY 1"
    ),
    "letter": text(
        "SELECT DISTINCT chain FROM entry e WHERE tenant = :tenant AND chain LIKE 'receipts/%' AND NOT EXISTS "
        "(SELECT FROM letter l WHERE l.tenant = e.tenant AND l.receipt_chain = e.chain)"
    ),
    "stray": text(
        "SELECT DISTINCT chain FROM entry e WHERE tenant = :tenant AND chain LIKE 'stray/%' AND NOT EXISTS "
        "(SELECT FROM task t WHERE t.tenant = e.tenant AND 'stray/' || t.id = e.chain)"
    ),
}
