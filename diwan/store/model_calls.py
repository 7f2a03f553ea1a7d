"""Calls of models: the exact request and answer of every attempt.

Of the attempts of one call the first stored answer counts; others are kept and never used, and so are answers that
come after the run has ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from diwan.domain.errors import Conflict, NotFound
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import Change
from diwan.store.runs import RUNNING, get_run
from diwan.store.sealing import context
from diwan.store.tables import agent_run, model_call


class Stored(StrEnum):
    """What became of an answer."""

    USED = "used"  # the first of its call: the run goes on with it
    LATE = "late"  # another attempt was first, or the run has ended: kept, never used
    AGAIN = "again"  # this attempt's answer was stored before; nothing is changed


def _place(column: str, run_id: str, call: int, last: int) -> str:
    return context(f"model_call.{column}", run_id, call, last)


async def used_answer(conn: AsyncConnection, tenant: str, run_id: str, call: int, cipher: Cipher) -> bytes | None:
    """The answer that counts, as received; None while there is none."""
    found = await conn.execute(
        select(model_call.c.attempt, model_call.c.response_sealed).where(
            model_call.c.tenant == tenant,
            model_call.c.run_id == run_id,
            model_call.c.call == call,
            model_call.c.used,
        )
    )
    row = found.one_or_none()
    if row is None:
        return None
    place = _place("response_sealed", run_id, call, row.attempt)
    return cipher.open(RetentionClass.EXCHANGE, place, row.response_sealed)


async def store_request(
    conn: AsyncConnection,
    tenant: str,
    case_id: str,
    run_id: str,
    call: int,
    *,
    model: str,
    final: bool,
    request: bytes,
    cipher: Cipher,
    now: datetime,
) -> int:
    """Stores a request as it will be sent and gives the number of its attempt (from 1). Changes nothing of the case.

    Raises `Conflict` where another worker took the number at the same time: try again.
    """
    m = model_call.c
    taken = await conn.execute(
        select(func.coalesce(func.max(m.attempt), 0)).where(m.tenant == tenant, m.run_id == run_id, m.call == call)
    )
    attempt = int(taken.scalar_one()) + 1
    sealed = cipher.seal(RetentionClass.EXCHANGE, _place("request_sealed", run_id, call, attempt), request)
    stored = await conn.execute(
        postgresql.insert(model_call)
        .values(
            tenant=tenant,
            run_id=run_id,
            call=call,
            attempt=attempt,
            case_id=case_id,
            model=model,
            final=final,
            request_sealed=sealed,
            status="sent",
            started_at=now,
        )
        .on_conflict_do_nothing()
    )
    if stored.rowcount != 1:
        raise Conflict("call.attempt_taken", "Another worker sends this call just now.", "Try again.")
    return attempt


async def store_answer(
    change: Change,
    run_id: str,
    call: int,
    attempt: int,
    *,
    response: bytes,
    cipher: Cipher,
    usage: dict[str, int],
    engine: str,
    broken: str = "",
) -> Stored:
    """Stores an answer as received. The first of a call whose run goes on is used, whatever it is worth.

    `broken` is `endless` or `junk` for one that could not be read to its end.

    `AGAIN` changed nothing: say `change.unchanged()`. `usage` counts tokens by name (`total_tokens` adds to the
    run's). Raises `NotFound` where the request was never stored.
    """
    status = await _status(change, run_id, call, attempt)
    if status in ("answered", "late"):
        return Stored.AGAIN
    used = await _may_use(change, run_id, call)
    sealed = cipher.seal(RetentionClass.EXCHANGE, _place("response_sealed", run_id, call, attempt), response)
    await _finish(
        change,
        run_id,
        call,
        attempt,
        {
            "response_sealed": sealed,
            "status": "answered" if used else "late",
            "used": used,
            "usage": usage,
            "engine": engine,
            "broken": broken,
            "ended_at": change.now,
        },
    )
    if used:
        await change.conn.execute(
            update(agent_run)
            .where(agent_run.c.tenant == change.case.tenant, agent_run.c.id == run_id)
            .values(calls=agent_run.c.calls + 1, tokens=agent_run.c.tokens + usage.get("total_tokens", 0))
        )
    return Stored.USED if used else Stored.LATE


async def store_failure(
    change: Change, run_id: str, call: int, attempt: int, *, response: bytes, cipher: Cipher, engine: str = ""
) -> Stored:
    """As `store_answer` for what is no answer (junk, an error's body): kept, never used, status `failed`."""
    if await _status(change, run_id, call, attempt) != "sent":
        return Stored.AGAIN
    sealed = cipher.seal(RetentionClass.EXCHANGE, _place("response_sealed", run_id, call, attempt), response)
    values = {"response_sealed": sealed, "status": "failed", "engine": engine, "ended_at": change.now}
    await _finish(change, run_id, call, attempt, values)
    return Stored.LATE


async def _status(change: Change, run_id: str, call: int, attempt: int) -> str:
    m = model_call.c
    found = await change.conn.execute(
        select(m.status).where(m.tenant == change.case.tenant, m.run_id == run_id, m.call == call, m.attempt == attempt)
    )
    status = found.scalar_one_or_none()
    if status is None:
        raise NotFound("call.unknown", "No request of this attempt is stored.", "Store the request first.")
    return str(status)


async def _may_use(change: Change, run_id: str, call: int) -> bool:
    run = await get_run(change.conn, change.case.tenant, run_id)
    if run is None or run.status != RUNNING:
        return False
    m = model_call.c
    other = await change.conn.execute(
        select(m.attempt).where(m.tenant == change.case.tenant, m.run_id == run_id, m.call == call, m.used)
    )
    return other.one_or_none() is None


async def _finish(change: Change, run_id: str, call: int, attempt: int, values: dict[str, Any]) -> None:
    m = model_call.c
    done = await change.conn.execute(
        update(model_call)
        .where(
            m.tenant == change.case.tenant,
            m.run_id == run_id,
            m.call == call,
            m.attempt == attempt,
            m.status == "sent",
        )
        .values(values)
    )
    if done.rowcount != 1:
        raise Conflict("call.changed", "The call has changed meanwhile.", "Try again.")


@dataclass(frozen=True, slots=True)
class UsedAnswer:
    """An answer that counts, as received. `final` as its request was; `broken` as `store_answer` was told."""

    call: int
    final: bool
    broken: str
    body: bytes


async def used_answers(conn: AsyncConnection, tenant: str, run_id: str, cipher: Cipher) -> list[UsedAnswer]:
    """The answer of every call of a run that counts, in order."""
    m = model_call.c
    rows = await conn.execute(
        select(m.call, m.attempt, m.final, m.broken, m.response_sealed)
        .where(m.tenant == tenant, m.run_id == run_id, m.used)
        .order_by(m.call)
    )
    return [UsedAnswer(row.call, row.final, row.broken, _opened(cipher, run_id, row)) for row in rows]


def _opened(cipher: Cipher, run_id: str, row: Any) -> bytes:
    place = _place("response_sealed", run_id, row.call, row.attempt)
    return cipher.open(RetentionClass.EXCHANGE, place, row.response_sealed)
