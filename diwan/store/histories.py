"""Runs of workflows and their kept histories: what is known of each, which is to be looked at, what was kept.

Temporal deletes the history of a run some time after it has ended. Each is kept here before, sealed under its case's
key for decisions (it holds no personal data, and what was decided is proved by it for as long as the decision stands),
with an entry on the case's chain that names its digest: once a run, for a closed case too.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from diwan.domain.actor import system
from diwan.domain.errors import Tampered
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import Change
from diwan.store.connection import Connection
from diwan.store.documents import insert_blob, open_blob, seal_blob, sealed_blob

KEPT = "case:history:kept"
LOST = "case:history:lost"
# What entries of it are for.
PURPOSE = "audit"

# A run is looked at when it is older by half, within these bounds: one that has ended is found soon, and those of cases
# that wait for months are asked for four times a day.
SOONEST, LATEST = timedelta(minutes=1), timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Run:
    tenant: str
    run_id: str
    workflow_id: str
    case_id: str


@dataclass(frozen=True, slots=True)
class OpenRun(Run):
    """A run whose history is still to be kept. `look_at` names this look at it: who takes it moves it."""

    seen_at: datetime
    look_at: datetime
    missing_since: datetime | None


@dataclass(frozen=True, slots=True)
class RunRow(Run):
    state: str
    digest: str
    blob: str | None
    entry_seq: int | None
    closed_at: datetime | None
    missing_since: datetime | None


async def know_runs(conn: Connection, runs: Sequence[Run], *, now: datetime) -> None:
    """Writes down runs that are not known yet."""
    for run in sorted(runs, key=lambda each: each.run_id):
        await conn.execute(
            _KNOW,
            {
                **{"tenant": run.tenant, "run": run.run_id, "workflow": run.workflow_id, "case": run.case_id},
                **{"now": now, "look": now + SOONEST},
            },
        )


_KNOW = text(
    "INSERT INTO workflow_run (tenant, run_id, workflow_id, case_id, seen_at, look_at) "
    "VALUES (:tenant, :run, :workflow, :case, :now, :look) ON CONFLICT DO NOTHING"
)


async def runs_to_look_at(conn: Connection, now: datetime, *, limit: int = 50) -> list[OpenRun]:
    """Those of every ministry that are due, the longest due first; a transaction without tenant, as diwan_worker."""
    return [OpenRun(*row) for row in await conn.execute(_DUE, {"now": now, "limit": limit})]


_DUE = text(
    "SELECT tenant, run_id, workflow_id, case_id, seen_at, look_at, missing_since FROM workflow_run "
    "WHERE state = 'open' AND look_at <= :now ORDER BY look_at LIMIT :limit"
)


async def take_look(conn: Connection, run: OpenRun, now: datetime) -> bool:
    """Makes this look one's own: another is due when the run is older by half. False where somebody took it."""
    pause = min(max((now - run.seen_at) / 2, SOONEST), LATEST)
    values = {"tenant": run.tenant, "run": run.run_id, "seen": run.look_at, "look": now + pause}
    return (await conn.execute(_TAKE, values)).rowcount == 1


_TAKE = text(
    "UPDATE workflow_run SET look_at = :look WHERE tenant = :tenant AND run_id = :run AND state = 'open' "
    "AND look_at = :seen"
)


async def mark_closed(conn: Connection, run: Run, at: datetime) -> None:
    """It has ended, and its history is still to be kept: what operators watch (`oldest_waiting`)."""
    await conn.execute(_CLOSED, {"tenant": run.tenant, "run": run.run_id, "at": at})


async def mark_missing(conn: Connection, run: Run, since: datetime | None) -> None:
    """Temporal has not known it since; None: it knows it."""
    await conn.execute(_MISSING, {"tenant": run.tenant, "run": run.run_id, "since": since})


_CLOSED = text("UPDATE workflow_run SET closed_at = :at WHERE tenant = :tenant AND run_id = :run AND state = 'open'")
_MISSING = text(
    "UPDATE workflow_run SET missing_since = :since WHERE tenant = :tenant AND run_id = :run AND state = 'open'"
)


@dataclass(frozen=True, slots=True)
class SealedHistory:
    """A history ready to be stored: `digest` is of its JSON, `address` of its ciphertext."""

    digest: str
    size: int
    address: str
    sealed: bytes


def seal_history(cipher: Cipher, run_id: str, content: bytes) -> SealedHistory:
    """Before the case is locked: a long one takes a while. Raises `NotFound` where the case's key is destroyed."""
    address, sealed = seal_blob(cipher, RetentionClass.DECISION, history_owner(run_id), zlib.compress(content))
    return SealedHistory(hashlib.sha256(content).hexdigest(), len(content), address, sealed)


async def keep_history(
    change: Change, cipher: Cipher, run: Run, made: SealedHistory, *, workflow: str, events: int, ended: str
) -> bool:
    """Stores a history with its entry. False where it was kept before: nothing is changed then.

    `workflow` is the type, `ended` how it ended.
    """
    if await _state(change.conn, run) != "open":
        change.unchanged()
        return False
    await insert_blob(change.conn, run.tenant, made.address, made.sealed)
    values = {"digest": made.digest, "blob": made.address, "seq": change.version, "state": "kept"}
    await change.conn.execute(_END, {**values, "tenant": run.tenant, "run": run.run_id})
    change.record(
        KEPT,
        system(run.tenant, "worker"),
        cipher=cipher,
        purpose=PURPOSE,
        step="",
        visit=0,
        detail={
            **_named(run),
            **{"type": workflow, "ended": ended, "events": events, "bytes": made.size, "digest": made.digest},
        },
    )
    return True


async def lose_history(change: Change, cipher: Cipher, run: Run, since: datetime) -> bool:
    """The history cannot be had any more, and the ledger says so. False where it stands otherwise by now."""
    if await _state(change.conn, run) != "open":
        change.unchanged()
        return False
    values = {"digest": "", "blob": None, "seq": change.version, "state": "lost"}
    await change.conn.execute(_END, {**values, "tenant": run.tenant, "run": run.run_id})
    detail = {**_named(run), "missing_since": since.isoformat()}
    change.record(LOST, system(run.tenant, "worker"), cipher=cipher, purpose=PURPOSE, step="", visit=0, detail=detail)
    return True


async def give_up_erased(conn: Connection, run: Run) -> None:
    """The case is erased: its history goes the way of the rest, and the entry of that erasure says so."""
    values = {"digest": "", "blob": None, "seq": None, "state": "erased"}
    await conn.execute(_END, {**values, "tenant": run.tenant, "run": run.run_id})


def _named(run: Run) -> dict[str, str]:
    return {"workflow": run.workflow_id[:400], "run": run.run_id}


async def _state(conn: Connection, run: Run) -> str | None:
    found = await conn.execute(_STATE, {"tenant": run.tenant, "run": run.run_id})
    return found.scalar_one_or_none()


_STATE = text("SELECT state FROM workflow_run WHERE tenant = :tenant AND run_id = :run FOR UPDATE")
_END = text(
    "UPDATE workflow_run SET state = :state, digest = :digest, blob = :blob, entry_seq = :seq "
    "WHERE tenant = :tenant AND run_id = :run AND state = 'open'"
)


# --- for those who read -----------------------------------------------------------------------------------------------


async def runs_of(conn: Connection, tenant: str, case_id: str) -> list[RunRow]:
    """All runs of a case that are known, the first seen first."""
    return [RunRow(*row) for row in await conn.execute(_OF_CASE, {"tenant": tenant, "case": case_id})]


_OF_CASE = text(
    "SELECT tenant, run_id, workflow_id, case_id, state, digest, blob, entry_seq, closed_at, missing_since "
    "FROM workflow_run WHERE tenant = :tenant AND case_id = :case ORDER BY seen_at, run_id"
)


async def sealed_history(conn: Connection, row: RunRow) -> bytes:
    """The ciphertext of a kept history. Raises `NotFound` where its bytes are gone, `Tampered`."""
    assert row.blob is not None, "kept"
    return await sealed_blob(conn, row.tenant, row.blob)


def open_history(cipher: Cipher, row: RunRow, sealed: bytes) -> bytes:
    """The JSON of a kept history. Raises `NotFound` where it is erased, `Tampered` where it is not what was kept."""
    return inflated(open_blob(sealed, history_owner(row.run_id), RetentionClass.DECISION, cipher), row.digest)


def inflated(content: bytes, digest: str) -> bytes:
    """What was deflated before it was sealed. Raises `Tampered` where it has another digest."""
    try:
        history = zlib.decompress(content)
    except zlib.error:
        raise Tampered("history.unreadable", "A kept history cannot be read.", "Tell the operator.") from None
    if hashlib.sha256(history).hexdigest() != digest:
        raise Tampered("history.digest_differs", "A kept history is not the one that was kept.", "Tell the operator.")
    return history


def history_owner(run_id: str) -> str:
    """What the ciphertext of a run's history is bound to."""
    return f"history/{run_id}"


async def oldest_waiting(conn: Connection, now: datetime) -> dict[tuple[str, ...], float]:
    """By ministry: for how many seconds a history of a run that has ended waits to be kept, or a run to be looked at.

    Of all ministries, for the relay's role.
    """
    rows = await conn.execute(_OLDEST, {"now": now})
    return {(row.tenant,): max((now - row.since).total_seconds(), 0.0) for row in rows}


_OLDEST = text(
    "SELECT t.tenant, coalesce(min(least(w.closed_at, w.look_at)), :now) AS since FROM tenant t "
    "LEFT JOIN workflow_run w ON w.tenant = t.tenant AND w.state = 'open' GROUP BY t.tenant ORDER BY t.tenant"
)
