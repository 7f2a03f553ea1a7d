"""A ministry's rows in clear, for its export: what each sealed column is of, and rows read a case or a batch at a time.

A value that cannot be had in clear is left out, and its row says why (`_sealed`).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import RowMapping, Table, select, text, tuple_

from diwan.domain.errors import Erased, NotFound, Tampered
from diwan.domain.ports import Cipher, Keyring, RetentionClass
from diwan.domain.task import TaskKind
from diwan.store.connection import Connection
from diwan.store.documents import open_blob, sealed_blob, staging_scope
from diwan.store.entries import body_context
from diwan.store.opened_entry import keys_scope
from diwan.store.sealing import context
from diwan.store.tables import metadata
from diwan.store.tasks import stray_scope, task_id_of

Row = RowMapping

# Tables that are not exported row by row, and why.
LEFT_OUT: Mapping[str, str] = {
    "blob": "ciphertext: the documents, letters and histories that it is of are files",
    "ledger_index": "a copy of what entries say, for searching",
    "ledger_index_reach": "as above",
    "ledger_shard": "of no ministry: hashes, in ledger/",
    "ledger_tile": "as above",
    "ledger_checkpoint": "as above",
    "ledger_cosigned": "as above",
    "pool_host": "of no ministry: hosts of the pool",
}
# A batch of a table that is read as a whole: its rows may hold a body of an entry each.
_BATCH = 200


class Unopened(StrEnum):
    """Why a value is not there in clear."""

    ERASED = "erased"
    NO_KEY = "no_key"
    DOES_NOT_OPEN = "does_not_open"
    NOT_STORED = "not_stored"


def _json(opened: bytes) -> Any:
    return orjson.loads(opened)


def _text(opened: bytes) -> Any:
    """What is no text is said to be Base64."""
    try:
        return opened.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(opened).decode()}


def _deflated(opened: bytes) -> Any:
    return _text(zlib.decompress(opened))


@dataclass(frozen=True, slots=True)
class _Sealed:
    """How a sealed column is opened: the key's class, which columns name its place, what comes out."""

    retention: RetentionClass
    row: tuple[str, ...]
    read: Callable[[bytes], Any]


_D, _E, _X = RetentionClass.DECISION, RetentionClass.EVIDENCE, RetentionClass.EXCHANGE
_CALL = ("run_id", "call", "attempt")
# What the store's modules seal, and where (tests/store/test_exports.py opens each).
SEALED: Mapping[str, _Sealed] = {
    "party.party_sealed": _Sealed(_D, ("id",), _json),
    "inbox.body_sealed": _Sealed(_E, ("source", "event_id"), _json),
    "document.name_sealed": _Sealed(_E, ("id",), _text),
    "page.text_sealed": _Sealed(_E, ("document_id", "page"), _json),
    "fact.fact_sealed": _Sealed(_E, ("case_id", "name", "provenance", "revision"), _json),
    "model_call.request_sealed": _Sealed(_X, _CALL, _deflated),
    "model_call.response_sealed": _Sealed(_X, _CALL, _text),
    "model_rerun.response_sealed": _Sealed(_X, ("id",), _text),
    "model_rerun.report_sealed": _Sealed(_X, ("id",), _json),
    "tool_call.arguments_sealed": _Sealed(_X, ("run_id", "call", "position"), _json),
    "tool_call.result_sealed": _Sealed(_X, ("run_id", "call", "position"), _json),
    "proposal.proposal_sealed": _Sealed(_D, ("id",), _json),
    "task.shown_sealed": _Sealed(_D, ("id",), _json),
    "task_act.reason_sealed": _Sealed(_D, ("task_id", "key"), _text),
    "decision.decision_sealed": _Sealed(_D, ("id",), _json),
    "letter.content_sealed": _Sealed(_D, ("id",), _json),
    "letter.receipt_sealed": _Sealed(_D, ("id",), _json),
    "notification.proof_sealed": _Sealed(_D, ("letter_id",), _text),
    "erasure.reason_sealed": _Sealed(_D, ("id",), _json),
    "legal_hold.reason_sealed": _Sealed(_D, ("id",), _json),
    "legal_hold.lifted_because_sealed": _Sealed(_D, ("id",), _json),
    "entry.body_sealed": _Sealed(_D, ("chain", "seq"), _json),
}


def exported() -> list[Table]:
    """Tables that are exported row by row."""
    return [table for name, table in sorted(metadata.tables.items()) if name not in LEFT_OUT]


def of_cases(table: Table) -> bool:
    """Whether its rows are read with their case; rows without any are read at the end."""
    return "case_id" in table.c or table.name == "case_file"


async def rows_of_case(conn: Connection, table: Table, tenant: str, case: str) -> Sequence[Row]:
    """By their keys."""
    column = table.c.id if table.name == "case_file" else table.c.case_id
    query = select(table).where(table.c.tenant == tenant, column == case).order_by(*table.primary_key)
    return (await conn.execute(query)).mappings().all()


async def other_rows(conn: Connection, table: Table, tenant: str) -> AsyncGenerator[Row]:
    """By their keys, a batch at a time: those of no case, or all of a table that is read as a whole."""
    key = tuple(column for column in table.primary_key if column.name != "tenant")
    query = select(table).where(table.c.tenant == tenant).order_by(*table.primary_key).limit(_BATCH)
    if of_cases(table):
        query = query.where(table.c.case_id.is_(None))
    after = query
    while True:
        rows = (await conn.execute(after)).mappings().all()
        for row in rows:
            yield row
        if len(rows) < _BATCH or not key:
            return
        after = query.where(tuple_(*key) > tuple(rows[-1][column.name] for column in key))


async def cases(conn: Connection, tenant: str) -> AsyncGenerator[str]:
    """Ids of all cases."""
    after = ""
    while found := (await conn.execute(_CASES, {"tenant": tenant, "after": after, "limit": _BATCH})).scalars().all():
        for case in found:
            yield case
        after = found[-1]


_CASES = text("SELECT id FROM case_file WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :limit")


class Opener:
    """Opens what rows of a ministry hold, with the keys that the vault gives; one scope after the other."""

    def __init__(self, conn: Connection, keyring: Keyring, tenant: str) -> None:
        self._conn = conn
        self._keyring = keyring
        self._tenant = tenant
        self._scope = ""
        self._cipher: Cipher = NoKey()
        self.unopened: dict[Unopened, int] = dict.fromkeys(Unopened, 0)

    async def cipher(self, scope: str) -> Cipher:
        """A cipher that opens nothing where the vault has no keys of the scope."""
        if scope != self._scope:
            try:
                self._cipher = await self._keyring.cipher(self._tenant, scope)
            except NotFound:
                self._cipher = NoKey()
            self._scope = scope
        return self._cipher

    async def opened(self, table: Table, row: Row) -> dict[str, Any]:
        """The row as it is exported: `x_sealed` as `x`, in clear; bytes in hexadecimal digits."""
        told: dict[str, Any] = {}
        why: dict[str, str] = {}
        for key, value in row.items():
            name = str(key)  # of SQLAlchemy's own kind of str
            if name.endswith("_sealed"):
                shown = name.removesuffix("_sealed")
                came = None if value is None else await self._column(table, row, name, value)
                told[shown] = None if isinstance(came, Unopened) else came
                if isinstance(came, Unopened):
                    why[shown] = came.value
            elif isinstance(value, bytes):
                told[name] = value.decode() if name in ("header", "note") else value.hex()
            else:
                told[name] = value
        return {**told, "_sealed": why} if why else told

    async def _column(self, table: Table, row: Row, column: str, sealed: bytes) -> Any:
        how = SEALED[f"{table.name}.{column}"]
        place = context(f"{table.name}.{column}", *(row[name] for name in how.row))
        if table.name == "entry":
            place = body_context(row["chain"], row["seq"])
        opened = await self._first(
            await self._scopes(table, row), lambda cipher: cipher.open(how.retention, place, sealed)
        )
        return opened if isinstance(opened, Unopened) else how.read(opened)

    async def file(self, table: Table, row: Row, owner: str, retention: RetentionClass) -> bytes | Unopened:
        """The bytes that a row names by its `blob`."""
        try:
            sealed = await sealed_blob(self._conn, self._tenant, row["blob"])
        except NotFound:
            return self.missed(Unopened.NOT_STORED)
        except Tampered:
            return self.missed(Unopened.DOES_NOT_OPEN)
        return await self._first(
            await self._scopes(table, row), lambda cipher: open_blob(sealed, owner, retention, cipher)
        )

    async def _first(self, scopes: Sequence[str], open_: Callable[[Cipher], bytes]) -> bytes | Unopened:
        """By the first scope whose keys open it: whose a row of no case is, is not always said by the row."""
        why = set[Unopened]()
        for scope in scopes:
            try:
                return open_(await self.cipher(scope))
            except Erased:
                why.add(Unopened.ERASED)
            except NotFound:
                why.add(Unopened.NO_KEY)
            except Tampered:
                why.add(Unopened.DOES_NOT_OPEN)
        return self.missed(next((each for each in Unopened if each in why), Unopened.NO_KEY))

    def missed(self, why: Unopened) -> Unopened:
        self.unopened[why] += 1
        return why

    async def _scopes(self, table: Table, row: Row) -> list[str]:
        """Scopes of keys that may have sealed what is in a row (docs/data.md)."""
        case: str | None = row.get("case_id")
        match table.name:
            case "entry":
                return [keys_scope(row["chain"], row["header"])]
            case "task":
                return [case or stray_scope(row["id"])]
            case "task_act":
                return [*([case] if case else []), stray_scope(row["task_id"])]
            case "inbox" if case is None:
                return await self._of_event(row["source"], row["event_id"], row["consumed_by"])
            case "document" if case is None:
                if not row["event_id"]:
                    return [staging_scope(row["id"])]
                values = {"tenant": self._tenant, "event": row["event_id"]}
                return [self._stray(source, row["event_id"]) for source in await self._conn_scalars(_SOURCES, values)]
            case _:
                return [case] if case else []

    async def _of_event(self, source: str, event: str, first: str) -> list[str]:
        """An application that came again is sealed under the keys of the first one's case."""
        if not first:
            return [self._stray(source, event)]
        return await self._conn_scalars(_FIRST, {"tenant": self._tenant, "source": source, "event": first})

    async def _conn_scalars(self, query: Any, values: Mapping[str, str]) -> list[str]:
        return [str(each) for each in (await self._conn.execute(query, values)).scalars()]

    def _stray(self, source: str, event: str) -> str:
        return stray_scope(task_id_of(self._tenant, TaskKind.STRAY_EVENT.value, source, event))


_SOURCES = text("SELECT source FROM inbox WHERE tenant = :tenant AND event_id = :event AND case_id IS NULL ORDER BY 1")
_FIRST = text(
    "SELECT case_id FROM inbox WHERE tenant = :tenant AND source = :source AND event_id = :event "
    "AND case_id IS NOT NULL"
)


class NoKey:
    """The cipher of a scope that the vault has no keys of."""

    def seal(self, retention: RetentionClass, context: str, plaintext: bytes) -> bytes:
        raise NotFound("vault.key_not_found", f"There is no {retention.value} key for this scope.", "")

    def open(self, retention: RetentionClass, context: str, ciphertext: bytes) -> bytes:
        raise NotFound("vault.key_not_found", f"There is no {retention.value} key for this scope.", "")
