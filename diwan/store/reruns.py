"""Recorded model calls sent again: who asked, what came of it. The case stands as it stood; both are on its chain.

A rerun is asked for once for each Idempotency-Key, and one at a time of a call. What came of it is sealed: the answer
as received, and the comparison, which quotes both answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, text

from agents.compare import Comparison
from diwan.domain.actor import Actor
from diwan.domain.errors import Conflict, NotFound
from diwan.domain.ports import Cipher, RetentionClass
from diwan.domain.rerun import Conditions, Known, Outcome, Side, meaning_of, mismatch
from diwan.store.call_records import CallRecord
from diwan.store.change import Change
from diwan.store.connection import Connection
from diwan.store.erasures import refuse_erased
from diwan.store.pool_hosts import SERVING, HostRow
from diwan.store.sealing import context, open_value, seal_value

# What entries of it are for.
PURPOSE = "audit"


@dataclass(frozen=True, slots=True)
class RerunRow:
    """`call` and so on name the attempt; `number` is that of the call in its case."""

    id: str
    case_id: str
    run_id: str
    call: int
    attempt: int
    number: int
    entry_seq: int
    asked_by: str
    key: str
    status: Outcome
    reason: str
    conditions: Conditions | None
    report_sealed: bytes | None
    asked_at: datetime
    ended_at: datetime | None


_COLUMNS = ", ".join(RerunRow.__dataclass_fields__)


async def get_rerun(conn: Connection, tenant: str, case_id: str, rerun: str) -> RerunRow:
    """Raises `NotFound`."""
    found = await conn.execute(_BY_ID, {"tenant": tenant, "case": case_id, "id": rerun})
    row = found.mappings().one_or_none()
    if row is None:
        raise NotFound("rerun.unknown", "There is no such rerun of this case.", "Ask for one: diwan case rerun")
    return _row(row)


async def rerun_by_key(conn: Connection, tenant: str, actor: Actor, key: str) -> RerunRow | None:
    """What this actor asked for under an Idempotency-Key."""
    found = await conn.execute(_BY_KEY, {"tenant": tenant, "by": actor.subject, "key": key})
    row = found.mappings().one_or_none()
    return None if row is None else _row(row)


async def ask_rerun(change: Change, record: CallRecord, actor: Actor, cipher: Cipher, *, rerun: str, key: str) -> None:
    """Asks for one, with its entry. Raises `Conflict` where one of this call is under way, `Erased`."""
    values = {
        "tenant": change.case.tenant,
        "id": rerun,
        "case": change.case.id,
        "run": record.run,
        "call": record.call,
        "attempt": record.attempt,
        "number": record.number,
        "seq": record.seq,
        "by": actor.subject,
        "key": key,
        "now": change.now,
    }
    await refuse_erased(change.conn, change.case, RetentionClass.EXCHANGE, RetentionClass.DECISION)
    if (await change.conn.execute(_UNDER_WAY, values)).scalar_one():
        raise Conflict(
            "rerun.under_way", "This call is being run again just now.", "Wait until that one has ended, then ask."
        )
    await change.conn.execute(_ASK, values)
    change.record(
        "call:rerun:asked",
        actor,
        cipher=cipher,
        purpose=PURPOSE,
        step=record.step,
        visit=record.visit,
        detail=_detail(rerun, record.number, record.seq),
    )


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a rerun that ran."""

    answer: bytes
    comparison: Comparison
    conditions: Conditions


async def end_rerun(
    change: Change, row: RerunRow, by: Actor, cipher: Cipher, *, came: Came | None = None, reason: str = ""
) -> None:
    """Ends it, with its entry: by what came, or with why it was not run. Where it has ended already: unchanged."""
    tenant, case = change.case.tenant, change.case.id
    now = await get_rerun(change.conn, tenant, case, row.id)
    if now.status is not Outcome.ASKED:
        change.unchanged()
        return
    outcome = Outcome.NOT_RUN
    if came is not None:
        outcome = Outcome.IDENTICAL if came.comparison.identical else Outcome.DIFFERS
    values: dict[str, object] = {"tenant": tenant, "id": row.id, "status": outcome.value, "reason": reason}
    values["now"] = change.now
    if came is None:
        await change.conn.execute(_NOT_RUN, values)
    else:
        values["conditions"] = came.conditions.model_dump_json()
        values["response"] = cipher.seal(RetentionClass.EXCHANGE, _place("response_sealed", row.id), came.answer)
        values["report"] = seal_value(cipher, RetentionClass.EXCHANGE, _place("report_sealed", row.id), came.comparison)
        await change.conn.execute(_CAME, values)
    detail = {
        **_detail(row.id, row.number, row.entry_seq),
        "asked_by": row.asked_by[:200],
        "outcome": outcome.value,
        "meaning": meaning_of(outcome, came.conditions if came else None).value,
        "reason": reason,
    }
    if came is not None:
        detail |= {"host": came.conditions.now.host, "batch_invariant": came.conditions.now.batch_invariant.value}
        detail |= {name: known.value for name, known in came.conditions.same().items()}
    change.record(
        "call:rerun:ended",
        by,
        cipher=cipher,
        purpose=PURPOSE,
        commitments={} if came is None else {"response": came.answer},
        detail=detail,
    )


def opened_report(row: RerunRow, cipher: Cipher) -> Comparison | None:
    """What quotes both answers; None where nothing ran. Raises `NotFound` where it is erased."""
    if row.report_sealed is None:
        return None
    return open_value(cipher, RetentionClass.EXCHANGE, _place("report_sealed", row.id), row.report_sealed, Comparison)


# --- where it may run -------------------------------------------------------------------------------------------------


def side_of(host: HostRow) -> Side:
    return Side(
        model=host.model,
        weights_digest=host.weights_digest,
        tokenizer_digest=host.tokenizer_digest,
        engine_version=host.version,
        batch_invariant=Known(host.batch_invariant),
        host=host.host,
    )


def fit_hosts(then: Side, hosts: Sequence[HostRow]) -> list[HostRow]:
    """Those that serve and are what answered then: in batch-invariant mode first, of those the least busy."""
    fit = [host for host in hosts if host.state == SERVING and not mismatch(then, side_of(host))]
    return sorted(fit, key=lambda host: (host.batch_invariant != Known.YES.value, host.calls - host.room, host.host))


def _detail(rerun: str, number: int, seq: int) -> dict[str, Any]:
    return {"rerun": rerun, "number": number, "entry": seq}


def _place(column: str, rerun: str) -> str:
    return context(f"model_rerun.{column}", rerun)


def _row(row: RowMapping) -> RerunRow:
    values: dict[str, Any] = dict(row)
    values["status"] = Outcome(values["status"])
    if values["conditions"] is not None:
        values["conditions"] = Conditions.model_validate(values["conditions"])
    return RerunRow(**values)


_SELECT = f"SELECT {_COLUMNS} FROM model_rerun WHERE tenant = :tenant "  # noqa: S608 - names of our own columns
_BY_ID = text(f"{_SELECT} AND case_id = :case AND id = :id")
_BY_KEY = text(f"{_SELECT} AND asked_by = :by AND key = :key")
_UNDER_WAY = text(
    "SELECT EXISTS (SELECT FROM model_rerun WHERE tenant = :tenant AND run_id = :run AND call = :call "
    "AND attempt = :attempt AND status = 'asked')"
)
_ASK = text(
    "INSERT INTO model_rerun (tenant, id, case_id, run_id, call, attempt, number, entry_seq, asked_by, key, asked_at) "
    "VALUES (:tenant, :id, :case, :run, :call, :attempt, :number, :seq, :by, :key, :now)"
)
_NOT_RUN = text(
    "UPDATE model_rerun SET status = :status, reason = :reason, ended_at = :now WHERE tenant = :tenant AND id = :id"
)
_CAME = text(
    "UPDATE model_rerun SET status = :status, reason = :reason, ended_at = :now, "
    "conditions = cast(:conditions AS jsonb), response_sealed = :response, report_sealed = :report "
    "WHERE tenant = :tenant AND id = :id"
)


# --- of all ministries, for the relay ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    tenant: str
    case: str
    rerun: str


async def asked_reruns(conn: Connection, *, limit: int = 100) -> list[Asked]:
    """Those that have not ended, the oldest first; a transaction without tenant, as diwan_relay."""
    return [Asked(*row) for row in await conn.execute(_ALL_ASKED, {"limit": limit})]


_ALL_ASKED = text(
    "SELECT tenant, case_id, id FROM model_rerun WHERE status = 'asked' ORDER BY asked_at, id LIMIT :limit"
)
