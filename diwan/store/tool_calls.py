"""What an agent's tools answered, kept by call and position: the first result stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from diwan.domain.errors import Unavailable
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.change import Change
from diwan.store.connection import Connection, Statement
from diwan.store.sealing import context, seal_json


def tool_place(column: str, run: str, call: int, position: int) -> str:
    """Where a sealed value of a tool call belongs."""
    return context(f"tool_call.{column}", run, call, position)


@dataclass(frozen=True, slots=True)
class StoredResult:
    """`new` is False where the result of this call was stored before; `ok` is then that of the stored one."""

    new: bool
    ok: bool


def result_ahead(conn: Connection, tenant: str, run: str, call: int, position: int) -> None:
    """Has the next message ask for what `store_tool_result` looks at first: after the case's lock."""
    conn.ask_ahead(_STORED_RESULT.command({"tenant": tenant, "run": run, "call": call, "position": position}))


async def store_tool_result(
    change: Change,
    cipher: Cipher,
    *,
    run: str,
    call: int,
    position: int,
    tool: str,
    effect: str,
    arguments: Mapping[str, JsonValue],
    result: Any,
    ok: bool,
) -> StoredResult:
    """Stores what a tool answered, keyed by call and position: the first result stays."""
    place = (run, call, position)
    key = {"tenant": change.case.tenant, "run": run, "call": call, "position": position}
    found = await _STORED_RESULT.row(change.conn, key)
    if found is not None:
        return StoredResult(new=False, ok=found.status == "done")

    def sealed(column: str, value: Any) -> bytes:
        return seal_json(cipher, RetentionClass.EXCHANGE, tool_place(column, *place), value)

    _STORE_RESULT.owed(
        change.conn,
        {
            **key,
            "case": change.case.id,
            "tool": tool,
            "effect": effect,
            "arguments": sealed("arguments_sealed", dict(arguments)),
            "result": sealed("result_sealed", result),
            "status": "done" if ok else "failed",
            "now": change.now,
        },
        otherwise=_result_taken,
    )
    return StoredResult(new=True, ok=ok)


def _result_taken() -> Unavailable:
    # Nobody stores one without the case's lock, which we have.
    return Unavailable("call.result_taken", "Another worker stores this result just now.", "Try again.")


_STORE_RESULT = Statement(
    "INSERT INTO tool_call (tenant, run_id, call, position, case_id, tool, effect, arguments_sealed, result_sealed,"
    " status, started_at, ended_at) VALUES (:tenant, :run, :call, :position, :case, :tool, :effect, :arguments,"
    " :result, :status, :now, :now)"
)
_STORED_RESULT = Statement(
    "SELECT status FROM tool_call WHERE tenant = :tenant AND run_id = :run AND call = :call AND position = :position"
)
