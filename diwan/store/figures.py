"""What waits in every ministry, counted for operators by the relay's role: times, kinds and states only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text

from diwan.store.connection import Connection
from diwan.store.histories import oldest_waiting
from diwan.store.stuck import stuck_cases

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Waiting:
    """By label: how many wait, and for how many seconds the oldest has."""

    count: dict[Labels, float] = field(default_factory=dict[Labels, float])
    oldest_s: dict[Labels, float] = field(default_factory=dict[Labels, float])


@dataclass(frozen=True)
class Figures:
    """`events`, `outbox`: by tenant; `tasks`: by tenant and kind; `open` and `blocked`: cases by tenant.

    `frozen`: 1 for a ministry whose legal dates stand still; `histories`: as `oldest_waiting` has it.
    """

    events: Waiting
    tasks: Waiting
    outbox: Waiting
    open: dict[Labels, float]
    blocked: dict[Labels, float]
    frozen: dict[Labels, float]
    histories: dict[Labels, float]


async def count_all(conn: Connection, now: datetime) -> Figures:
    """A few statements, each over what is open only."""
    cases = (await conn.execute(_CASES)).all()
    return Figures(
        events=await _waiting(conn, _EVENTS, now),
        tasks=await _waiting(conn, _TASKS, now),
        outbox=await _waiting(conn, _OUTBOX, now),
        open={(row.tenant,): row.open for row in cases},
        blocked={(row.tenant,): row.blocked for row in cases},
        frozen={(row.tenant,): float(row.frozen) for row in await conn.execute(_CLOCKS)},
        histories=await oldest_waiting(conn, now),
    )


async def count_stuck(conn: Connection, now: datetime) -> dict[Labels, float]:
    """Cases that nobody moves, by tenant and why. Looks at every open case: not for every scrape."""
    return dict(Counter((each.tenant, each.why.value) for each in await stuck_cases(conn, now, limit=100_000)))


async def _waiting(conn: Connection, statement: str, now: datetime) -> Waiting:
    """Rows of labels, then how many, then since when."""
    found = Waiting()
    for *labels, count, since in await conn.execute(text(statement)):
        found.count[tuple(labels)] = count
        found.oldest_s[tuple(labels)] = max((now - since).total_seconds(), 0) if count else 0
    return found


# A ministry that has cases and nothing that waits counts 0: a figure that vanishes cannot be watched.
_EVENTS = """
SELECT c.tenant, coalesce(sum(c.inbox_last - c.inbox_cursor) FILTER (WHERE i.accepted_at IS NOT NULL), 0)::bigint,
       min(i.accepted_at)
FROM case_file c LEFT JOIN inbox i
  ON i.tenant = c.tenant AND i.case_id = c.id AND i.inbox_seq = c.inbox_cursor + 1 AND c.inbox_last > c.inbox_cursor
WHERE c.status <> 'closed' OR c.inbox_last > c.inbox_cursor
GROUP BY c.tenant ORDER BY c.tenant"""
_TASKS = """
SELECT tenant, kind, count(*), min(created_at) FROM task WHERE status IN ('open', 'claimed')
GROUP BY tenant, kind ORDER BY tenant, kind"""
_OUTBOX = """
SELECT w.tenant, count(o.id), min(o.created_at) FROM webhook w
LEFT JOIN outbox o ON o.tenant = w.tenant AND o.webhook_id = w.id AND o.delivered_at IS NULL
GROUP BY w.tenant ORDER BY w.tenant"""
_CLOCKS = text("SELECT tenant, frozen_at IS NOT NULL AS frozen FROM clock_watch ORDER BY tenant")
_CASES = text(
    "SELECT tenant, count(*) AS open, count(*) FILTER (WHERE blocked <> '') AS blocked FROM case_file "
    "WHERE status <> 'closed' GROUP BY tenant ORDER BY tenant"
)
