"""What an agent's run asked and was answered: exact requests and answers of every attempt, results of tools.

Of the attempts of one call the first stored answer counts; others are kept and never used, and so are answers that
come after the run has ended. These statements are most of what the service does all day, so they are messages of our
own (`Statement`): three for a model call and two for a tool call, besides the case's own, sent along with those.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from diwan.domain.errors import Conflict, Unavailable
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import Change
from diwan.store.connection import Connection, Statement
from diwan.store.exchange import Command
from diwan.store.sealing import context, open_json
from diwan.store.tool_calls import tool_place


@dataclass(frozen=True, slots=True)
class UsedAnswer:
    """The answer of a call that counts, as received; `broken` names why it could not be read to its end, `host` where
    it was given."""

    call: int
    body: bytes
    final: bool
    broken: str
    host: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """`result` as given to the model (JSON)."""

    call: int
    position: int
    tool: str
    ok: bool
    result: Any


@dataclass(frozen=True, slots=True)
class Recorded:
    """All calls of a run so far, in order: answers that count, results, and for each call its last attempt, and how
    many failed by the fault of an engine that had room."""

    answers: list[UsedAnswer]
    results: list[ToolResult]
    attempts: Mapping[int, int]
    faults: Mapping[int, int]


async def recorded(conn: Connection, tenant: str, run: str, cipher: Cipher, *, after: int = 0) -> Recorded:
    """What a run has on record of the calls after `after`, opened."""
    answers: list[UsedAnswer] = []
    results: list[ToolResult] = []
    attempts: dict[int, int] = {}
    faults: dict[int, int] = {}
    rows = await _RECORDED.rows(conn, {"tenant": tenant, "run": run, "after": after})
    for what, call, number, yes, final, said, host, sealed in rows:
        if what == "result":
            place = tool_place("result_sealed", run, call, number)
            result = open_json(cipher, RetentionClass.EXCHANGE, place, sealed)
            results.append(ToolResult(call, number, said, yes, result))
            continue
        attempts[call] = max(number, attempts.get(call, 0))
        if yes:
            answers.append(UsedAnswer(call, _open_answer(cipher, run, call, number, sealed), final, said, host))
        elif said not in ("", NO_ROOM):
            faults[call] = faults.get(call, 0) + 1
    return Recorded(answers, results, attempts, faults)


_RECORDED = Statement(
    "SELECT 'answer' AS what, call, attempt AS number, used AS yes, final,"
    " CASE WHEN used THEN broken ELSE reason END AS said, host,"
    " CASE WHEN used THEN response_sealed END AS sealed FROM model_call"
    " WHERE tenant = :tenant AND run_id = :run AND call > :after "
    "UNION ALL SELECT 'result', call, position, status = 'done', false, tool, '', result_sealed"
    " FROM tool_call WHERE tenant = :tenant AND run_id = :run AND call > :after ORDER BY call, what, number"
)


async def used_answer(conn: Connection, tenant: str, run: str, call: int, cipher: Cipher) -> UsedAnswer | None:
    """The answer of one call that counts, where it has one."""
    row = await _USED_ANSWER.row(conn, {"tenant": tenant, "run": run, "call": call})
    if row is None:
        return None
    body = _open_answer(cipher, run, call, row.attempt, row.response_sealed)
    return UsedAnswer(call, body, row.final, row.broken, row.host)


_USED_ANSWER = Statement(
    "SELECT attempt, final, broken, host, response_sealed FROM model_call "
    "WHERE tenant = :tenant AND run_id = :run AND call = :call AND used"
)


def _open_answer(cipher: Cipher, run: str, call: int, attempt: int, sealed: bytes) -> bytes:
    return cipher.open(RetentionClass.EXCHANGE, _model_place("response_sealed", run, call, attempt), sealed)


def _model_place(column: str, run: str, call: int, attempt: int) -> str:
    return context(f"model_call.{column}", run, call, attempt)


def opened_request(cipher: Cipher, run: str, call: int, attempt: int, sealed: bytes) -> bytes:
    """The exact bytes of a request as it was sent, of what `store_request` stored."""
    stored = cipher.open(RetentionClass.EXCHANGE, _model_place("request_sealed", run, call, attempt), sealed)
    return zlib.decompress(stored)


def opened_response(cipher: Cipher, run: str, call: int, attempt: int, sealed: bytes) -> bytes:
    """The exact bytes of an answer as it was received."""
    return _open_answer(cipher, run, call, attempt, sealed)


# --- model calls -----------------------------------------------------------------------------------------------------


def store_request(
    conn: Connection,
    tenant: str,
    *,
    case_id: str,
    run: str,
    call: int,
    attempt: int,
    final: bool,
    model: str,
    host: str,
    request: bytes,
    cipher: Cipher,
    now: datetime,
) -> None:
    """Stores a request as it will be sent, to the engine of `host`. Changes nothing of the case. `attempt` is the last
    recorded one + 1.

    Where another worker took the number at the same moment the transaction raises `Unavailable`.
    """
    place = _model_place("request_sealed", run, call, attempt)
    _STORE_REQUEST.owed(
        conn,
        {
            "tenant": tenant,
            "run": run,
            "call": call,
            "attempt": attempt,
            "case": case_id,
            "model": model,
            "host": host,
            "final": final,
            "sealed": cipher.seal(RetentionClass.EXCHANGE, place, zlib.compress(request, _FAST)),
            "now": now,
        },
        otherwise=_attempt_taken,
    )


def _attempt_taken() -> Unavailable:
    return Unavailable("call.attempt_taken", "Another worker sends this call just now.", "Try again.")


_STORE_REQUEST = Statement(
    "INSERT INTO model_call (tenant, run_id, call, attempt, case_id, model, host, final, request_sealed, status,"
    " started_at) VALUES (:tenant, :run, :call, :attempt, :case, :model, :host, :final, :sealed, 'sent', :now)"
)


# A request repeats the whole transcript of its run, and what is sealed no database packs.
_FAST = 1


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """`used` is False for an answer that came after another attempt's, or after the run had ended."""

    used: bool


def answer_command(
    tenant: str,
    cipher: Cipher,
    *,
    run: str,
    call: int,
    attempt: int,
    body: bytes,
    broken: str,
    engine: str,
    usage: Mapping[str, int],
    now: datetime,
) -> Command:
    """What `store_answer` runs, to be asked ahead of it: an answer as received, come at `now`.

    `usage` counts tokens: `prompt_tokens` and `completion_tokens` of a used answer add to the run's.
    """
    place = _model_place("response_sealed", run, call, attempt)
    return _STORE_ANSWER.command(
        {
            "tenant": tenant,
            "run": run,
            "call": call,
            "attempt": attempt,
            "sealed": cipher.seal(RetentionClass.EXCHANGE, place, body),
            "broken": broken,
            "engine": engine,
            "usage": orjson.dumps(dict(usage)).decode(),
            "tokens": usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0),
            "now": now,
        }
    )


async def store_answer(change: Change, command: Command) -> StoredAnswer:
    """Stores an answer. The first of a call whose run goes on is used: decided under the case's lock.

    Raises `Conflict` where the attempt has its answer, or no request of it is stored.
    """
    row = next(iter((await change.conn.run(command)).rows), None)
    if row is None or row.counted != row.used:
        raise _not_sent()
    return StoredAnswer(row.used)


# One statement sees one state of the run, and no other transaction changes it while we hold the case.
_STORE_ANSWER = Statement(
    "WITH first AS (SELECT EXISTS (SELECT FROM agent_run WHERE tenant = :tenant AND id = :run AND status = 'running')"
    " AND NOT EXISTS (SELECT FROM model_call WHERE tenant = :tenant AND run_id = :run AND call = :call AND used)"
    " AS one), "
    "answered AS (UPDATE model_call SET response_sealed = :sealed, used = one, broken = :broken, engine = :engine,"
    " status = CASE WHEN one THEN 'answered' ELSE 'late' END, usage = cast(:usage AS jsonb), ended_at = :now FROM first"
    " WHERE tenant = :tenant AND run_id = :run AND call = :call AND attempt = :attempt AND status = 'sent'"
    " RETURNING used), "
    "counted AS (UPDATE agent_run SET calls = calls + 1, tokens = tokens + :tokens FROM answered"
    " WHERE answered.used AND tenant = :tenant AND id = :run RETURNING id) "
    "SELECT used, EXISTS (SELECT FROM counted) AS counted FROM answered"
)


# The reason of an attempt that its engine had no room for: it says nothing about the call.
NO_ROOM = "engine.busy"


def store_failure(
    change: Change, cipher: Cipher, *, run: str, call: int, attempt: int, reason: str, body: bytes | None
) -> None:
    """Stores that an attempt had no answer: `reason` is the machine name of why, `body` what came in an answer's place.

    Where the attempt has its answer the transaction raises `Conflict`.
    """
    place = _model_place("response_sealed", run, call, attempt)
    _STORE_FAILURE.owed(
        change.conn,
        {
            "tenant": change.case.tenant,
            "run": run,
            "call": call,
            "attempt": attempt,
            "reason": reason,
            "sealed": None if body is None else cipher.seal(RetentionClass.EXCHANGE, place, body),
            "now": change.now,
        },
        otherwise=_not_sent,
    )


def _not_sent() -> Conflict:
    return Conflict("call.not_sent", "No request of this attempt waits for an answer.", "Store the request first.")


_STORE_FAILURE = Statement(
    "UPDATE model_call SET status = 'failed', reason = :reason, response_sealed = cast(:sealed AS bytea),"
    " ended_at = :now"
    " WHERE tenant = :tenant AND run_id = :run AND call = :call AND attempt = :attempt AND status = 'sent'"
)
