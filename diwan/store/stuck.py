"""Which cases nobody moves, and why: envelope columns only, across tenants, for the relay's role.

A case that waits for a person or a date is not stuck: one that nothing will wake is, and one that should be moving.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import RowMapping, text

from diwan.domain.case import StepKind
from diwan.store.connection import Connection
from diwan.store.doorbell import instants


class Why(StrEnum):
    """Why a case is stuck; where there are several reasons, the first of these."""

    BLOCKED = "blocked"  # its step cannot be done: the code says what is wrong
    UNCONSUMED = "unconsumed"  # an event waits for long, and rings do not help
    OVERDUE = "overdue"  # a date is over, and nobody has looked
    SILENT = "silent"  # the service itself should be at work on it, and has recorded nothing for long
    NO_TASK = "no_task"  # it awaits a person, and nobody is asked
    NO_DATE = "no_date"  # it waits for an event, no date ends the wait, and no period is suspended meanwhile


@dataclass(frozen=True)
class Limits:
    """How long each may take before somebody should know; an agent may read scans, or wait for an engine, 15 min."""

    unconsumed: timedelta = timedelta(minutes=2)
    overdue: timedelta = timedelta(minutes=2)
    silent_act: timedelta = timedelta(minutes=5)
    silent_agent: timedelta = timedelta(minutes=20)


USUAL = Limits()


@dataclass(frozen=True)
class Standing:
    """Where an open case stands. `events` are not taken yet; `moved_at` is the time of its last entry.

    `rises` and `weight` are as in `doorbell.Bell`.
    """

    tenant: str
    case: str
    number: str
    step: str
    visit: int
    kind: StepKind
    wake_at: datetime | None
    blocked: str
    events: int
    moved_at: datetime
    rises: Sequence[datetime] | None
    weight: float


@dataclass(frozen=True)
class Stuck(Standing):
    """`since`: when what should have happened was due."""

    why: Why
    since: datetime


_STANDING = (
    "c.tenant, c.id AS case, c.number, c.state->>'step' AS step, cast(c.state->>'visit' AS int) AS visit, c.kind, "
    "c.wake_at, c.blocked, c.inbox_last - c.inbox_cursor AS events, e.at AS moved_at, c.state->'rises' AS rises, "
    "coalesce(t.weight, 1) AS weight "
)
_FROM = (
    "FROM case_file c JOIN entry e ON (e.tenant, e.chain, e.seq) = (c.tenant, c.id, c.version) "
    "LEFT JOIN inbox i ON (i.tenant, i.case_id, i.inbox_seq) = (c.tenant, c.id, c.inbox_cursor + 1) "
    "LEFT JOIN clock_watch w ON w.tenant = c.tenant "
    "LEFT JOIN tenant t ON t.tenant = c.tenant "
)
_OPEN = "(c.kind <> 'end' OR c.inbox_last > c.inbox_cursor) "
_ASKED = (
    "EXISTS (SELECT FROM task t WHERE t.tenant = c.tenant AND t.case_id = c.id AND t.step = c.state->>'step' "
    "AND t.visit = cast(c.state->>'visit' AS int) AND t.status IN ('open', 'claimed') AND t.kind <> 'late_event') "
)
# In the order of `Why`.
_WHY = (
    "CASE WHEN c.blocked <> '' THEN 'blocked' "
    "WHEN i.accepted_at < :unconsumed THEN 'unconsumed' "
    # While a ministry's legal dates stand still, those after that instant are not over.
    "WHEN c.wake_at < least(:overdue, w.stands_at) THEN 'overdue' "
    "WHEN c.kind = 'act' AND e.at < :silent_act THEN 'silent' "
    "WHEN c.kind = 'agent' AND e.at < :silent_agent THEN 'silent' "
    f"WHEN c.kind = 'task' AND c.inbox_last = c.inbox_cursor AND NOT {_ASKED} THEN 'no_task' "
    "WHEN c.kind = 'wait' AND c.inbox_last = c.inbox_cursor AND c.wake_at IS NULL AND c.status <> 'suspended' "
    "THEN 'no_date' END "
)
_SINCE = "CASE why WHEN 'unconsumed' THEN accepted_at WHEN 'overdue' THEN wake_at ELSE moved_at END "
_STUCK = text(
    f"SELECT seen.*, {_SINCE} AS since FROM "  # noqa: S608 - constants of ours
    f"(SELECT {_STANDING}, i.accepted_at, {_WHY} AS why {_FROM} WHERE {_OPEN}) AS seen "
    "WHERE why IS NOT NULL ORDER BY since, tenant, seen.case LIMIT :limit"
)
_PAGE = text(
    f"SELECT {_STANDING} {_FROM} WHERE {_OPEN} "
    "AND (c.tenant, c.id) > (:tenant, :case) ORDER BY c.tenant, c.id LIMIT :limit"
)


async def stuck_cases(conn: Connection, now: datetime, *, limits: Limits = USUAL, limit: int = 1000) -> list[Stuck]:
    """The cases that are stuck at `now`, longest first."""
    parameters = {
        "unconsumed": now - limits.unconsumed,
        "overdue": now - limits.overdue,
        "silent_act": now - limits.silent_act,
        "silent_agent": now - limits.silent_agent,
        "limit": limit,
    }
    rows = (await conn.execute(_STUCK, parameters)).mappings()
    return [Stuck(**_standing(row), why=Why(row["why"]), since=row["since"]) for row in rows]


async def counts(conn: Connection, now: datetime, *, limits: Limits = USUAL) -> dict[Why, int]:
    """How many cases are stuck for each reason: what an operator watches, all zero as a rule."""
    found = Counter(each.why for each in await stuck_cases(conn, now, limits=limits, limit=100_000))
    return {why: found[why] for why in Why}


async def open_cases(conn: Connection, *, after: tuple[str, str] = ("", ""), limit: int = 500) -> list[Standing]:
    """A page of cases that are not at their end, by tenant and id; `after` is the last one of the page before."""
    parameters = {"tenant": after[0], "case": after[1], "limit": limit}
    return [Standing(**_standing(row)) for row in (await conn.execute(_PAGE, parameters)).mappings()]


def _standing(row: RowMapping) -> dict[str, Any]:
    values: dict[str, Any] = {name: row[name] for name in Standing.__dataclass_fields__}
    return values | {"kind": StepKind(row["kind"]), "rises": instants(row["rises"])}
