"""Model calls as the ledger has them: by what each was answered, and whether stored bytes are those it committed to.

A case's calls are numbered from 1 in the order in which their answers came on its chain, over all of its runs; an
answer that came too late to be used has a number too. What was never answered has none. Nothing here opens a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import text

from diwan.domain.case import step_key
from diwan.domain.errors import NotFound, Tampered
from diwan.domain.ports import Cipher
from diwan.domain.rerun import Known, Side
from diwan.ledger.entry import SALT_BYTES, commit_digest, digest_of, entry_hash
from diwan.store.connection import Connection
from diwan.store.opened_entry import open_entry


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One answered call. `seq` is its entry; `broken`: the answer could not be read to its end (endless, junk), or
    none is kept."""

    number: int
    seq: int
    at: datetime
    run: str
    step: str
    visit: int
    call: int
    attempt: int
    used: bool
    broken: str
    then: Side
    temperature: str
    seed: int | None


async def call_records(conn: Connection, tenant: str, case_id: str) -> list[CallRecord]:
    """All of a case, in order."""
    found = await conn.execute(_CALLED, {"tenant": tenant, "case": case_id})
    kept = {
        (row.run_id, row.call, row.attempt): row.broken if row.answered else "no_answer"
        for row in await conn.execute(_KEPT, {"tenant": tenant, "case": case_id})
    }
    return [_record(number, row.seq, row.at, row.header, case_id, kept) for number, row in enumerate(found, start=1)]


async def call_record(conn: Connection, tenant: str, case_id: str, number: int) -> CallRecord:
    """The one of this number. Raises `NotFound`."""
    records = await call_records(conn, tenant, case_id)
    if not 0 < number <= len(records):
        raise NotFound(
            "rerun.no_such_call", "The case has no model call of this number.", "List them: diwan case rerun CASE"
        )
    return records[number - 1]


_CALLED = text(
    "SELECT seq, at, header FROM entry WHERE tenant = :tenant AND chain = :case AND kind = 'agent:model:called' "
    "ORDER BY seq"
)
_KEPT = text(
    "SELECT run_id, call, attempt, broken, response_sealed IS NOT NULL AS answered FROM model_call "
    "WHERE tenant = :tenant AND case_id = :case"
)


def _record(
    number: int,
    seq: int,
    at: datetime,
    stored: bytes,
    case_id: str,
    kept: Mapping[tuple[str, int, int], str],
) -> CallRecord:
    header: dict[str, Any] = orjson.loads(stored)
    detail: dict[str, Any] = header.get("detail", {})
    model: dict[str, Any] = header.get("model", {})
    step, visit, attempt = header.get("step", ""), header.get("visit", 0), header.get("attempt", 0)
    run, call = step_key(case_id, step, visit), detail.get("call", 0)
    said = str(detail.get("batch_invariant", ""))
    return CallRecord(
        number=number,
        seq=seq,
        at=at,
        run=run,
        step=step,
        visit=visit,
        call=call,
        attempt=attempt,
        used=bool(detail.get("used", False)),
        broken=kept.get((run, call, attempt), "no_answer"),
        then=Side(
            model=model.get("name", ""),
            weights_digest=model.get("weights_digest", ""),
            tokenizer_digest=detail.get("tokenizer_digest", ""),
            engine_version=detail.get("engine_version", ""),
            fingerprint=model.get("engine", ""),
            batch_invariant=Known(said) if said in list(Known) else Known.UNKNOWN,
            host=detail.get("host", ""),
            cached_tokens=detail.get("cached_tokens"),
        ),
        temperature=str(model.get("sampling", {}).get("temperature", "")),
        seed=model.get("seed"),
    )


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was stored of one attempt, sealed as it is."""

    request_sealed: bytes
    response_sealed: bytes | None
    header: bytes
    hash: bytes
    body_sealed: bytes | None


async def exchange_of(conn: Connection, tenant: str, record: CallRecord, case_id: str) -> Exchange:
    """The rows of a call and of its entry. Raises `NotFound`."""
    parameters = {"tenant": tenant, "case": case_id, "seq": record.seq}
    parameters |= {"run": record.run, "call": record.call, "attempt": record.attempt}
    row = (await conn.execute(_EXCHANGE, parameters)).one_or_none()
    if row is None:
        raise NotFound("rerun.no_such_call", "No request of this call is stored.", "Verify the ledger.")
    return Exchange(*row)


_EXCHANGE = text(
    "SELECT m.request_sealed, m.response_sealed, e.header, e.hash, e.body_sealed FROM model_call m, entry e "
    "WHERE m.tenant = :tenant AND m.run_id = :run AND m.call = :call AND m.attempt = :attempt "
    "AND e.tenant = :tenant AND e.chain = :case AND e.seq = :seq"
)


def check_committed(exchange: Exchange, cipher: Cipher, chain: str, seq: int, values: Mapping[str, bytes]) -> None:
    """Raises `Tampered` where `values` are not what the entry committed to under their names, by the salts sealed
    with it; `NotFound` where those are erased."""
    header: dict[str, Any] = orjson.loads(exchange.header)
    commitments = header.get("commitments", {})
    if entry_hash(exchange.header) != exchange.hash or exchange.body_sealed is None:
        raise _not_as_recorded()
    committed = open_entry(cipher, chain, seq, exchange.body_sealed).committed
    for name, value in values.items():
        salt, _ = committed.get(name, (b"", b""))
        if len(salt) != SALT_BYTES or commit_digest(salt, digest_of(value)) != commitments.get(name):
            raise _not_as_recorded()


def _not_as_recorded() -> Tampered:
    return Tampered(
        "rerun.not_as_recorded",
        "What is stored of this call is not what the ledger committed to.",
        "Verify the ledger: diwan ledger verify",
    )
