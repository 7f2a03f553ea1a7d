"""What is on record of a case's model calls: rows as the superuser sees them, opened with the worker's keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from diwan.domain.facts import PageText
from diwan.domain.ports import Cipher, RetentionClass
from diwan.embedded.supervisor import Stack
from diwan.store import documents
from diwan.store.calls import opened_request
from diwan.store.database import Database
from diwan.store.sealing import context
from diwan.vault.client import VaultKeyring

TENANT = "demo"
Json = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One attempt of a model call; `answer` is None where none came."""

    call: int
    attempt: int
    final: bool
    used: bool
    status: str
    broken: str
    model: str
    engine: str
    usage: Json
    request: Json = field(repr=False)
    answer: Json | None = field(repr=False)


def calls_of(stack: Stack, case: str, cipher: Cipher) -> list[Call]:
    """Every attempt of every call of a case, in order."""
    return [_call(row, cipher) for row in _rows(stack, "model_call", case, ("run_id", "call", "attempt"))]


def attempts(stack: Stack, case: str) -> list[Json]:
    """The same rows, nothing opened: for waiting."""
    return _rows(stack, "model_call", case, ("run_id", "call", "attempt"))


def model_entries(stack: Stack, case: str) -> list[Json]:
    """The headers of the ledger's entries on model calls."""
    headers: list[Json] = [
        json.loads(bytes(row["header"])) for row in _rows(stack, "entry", case, ("seq",), column="chain")
    ]
    return [header for header in headers if header["kind"] == "agent:model:called"]


async def cipher_of(stack: Stack, case: str) -> Cipher:
    address = json.loads((stack.home.run / "stack.json").read_text())["vault_address"]
    keyring = VaultKeyring(address, (stack.home.secrets / "vault-token-worker").read_text().strip())
    try:
        return await keyring.cipher(TENANT, case)
    finally:
        await keyring.aclose()


async def pages_of(stack: Stack, case: str, cipher: Cipher) -> list[PageText]:
    """The text of every page of a case."""
    db = Database.connect(stack.database_url("diwan_worker"), role="diwan_worker", pool_size=1)
    try:
        async with db.transaction(TENANT) as conn:
            return await documents.pages_of(conn, TENANT, case, cipher)
    finally:
        await db.dispose()


def _rows(stack: Stack, table: str, case: str, order: Sequence[str], *, column: str = "case_id") -> list[Json]:
    query = sql.SQL("select * from {} where tenant = %s and {} = %s order by {}").format(
        sql.Identifier(table), sql.Identifier(column), sql.SQL(", ").join(map(sql.Identifier, order))
    )
    with psycopg.connect(stack.database_url("postgres")) as connection:
        return connection.cursor(row_factory=dict_row).execute(query, (TENANT, case)).fetchall()


def _call(row: Json, cipher: Cipher) -> Call:
    place = (row["run_id"], row["call"], row["attempt"])
    request = opened_request(cipher, *place, bytes(row["request_sealed"]))
    answer = row["response_sealed"] and cipher.open(
        RetentionClass.EXCHANGE,
        context("model_call.response_sealed", *place),
        bytes(row["response_sealed"]),
    )
    kept = {name: row[name] for name in Call.__dataclass_fields__ if name in row}
    return Call(**kept, request=json.loads(request), answer=json.loads(answer) if answer else None)
