"""The pool as Postgres knows it: signs of life of its hosts, and how long each ministry's agents have been waiting.

Instants are the database's own: hosts whose clocks differ are compared all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text

from diwan.store.connection import Connection, Statement

SERVING = "serving"
OUT = "out"
ENDED = "ended"

# A host gives a sign of life every few seconds; one that has given none for so long serves nobody.
LIVE_S = 30.0


@dataclass(frozen=True, slots=True)
class HostSigns:
    """What a host says of itself (`diwan/store/tables/pool.py` says what each is)."""

    host: str
    model: str
    version: str
    state: str
    reason: str
    room: int
    most: int
    calls: int
    running: int
    waiting: int
    kv_used: float
    prefix_queries: int
    prefix_hits: int
    weights_digest: str
    tokenizer_digest: str
    batch_invariant: str
    clock_off_s: float = field(default=0.0, kw_only=True)


@dataclass(frozen=True, slots=True)
class HostRow(HostSigns):
    """`since`: when it came to its state; `unseen_s`: seconds since its last sign of life."""

    since: datetime
    unseen_s: float


async def give_sign(conn: Connection, signs: HostSigns) -> None:
    """Written anew each time; a transaction without tenant."""
    values = {name: getattr(signs, name) for name in HostSigns.__dataclass_fields__}
    await _GIVE_SIGN.row(conn, values)


_FIELDS = tuple(HostSigns.__dataclass_fields__)
_SAID = ", ".join(_FIELDS)
_GIVEN = ", ".join(f":{name}" for name in _FIELDS)
_ANEW = ", ".join(f"{name} = excluded.{name}" for name in _FIELDS[1:])
_GIVE_SIGN = Statement(
    f"INSERT INTO pool_host ({_SAID}, since, seen_at) VALUES ({_GIVEN}, now(), now()) "  # noqa: S608 - names of ours
    f"ON CONFLICT (host) DO UPDATE SET {_ANEW}, seen_at = now(), "
    "since = CASE WHEN (pool_host.state, pool_host.reason) = (excluded.state, excluded.reason) THEN pool_host.since "
    "ELSE now() END RETURNING 1"
)


async def hosts(conn: Connection, *, seen_within_s: float) -> list[HostRow]:
    """Those that gave a sign of life lately, by model and name."""
    found = await conn.execute(_HOSTS, {"within": seen_within_s})
    return [HostRow(**row) for row in found.mappings()]


_HOSTS = text(
    f"SELECT {_SAID}, since, extract(epoch FROM now() - seen_at)::float8 AS unseen_s FROM pool_host "  # noqa: S608
    "WHERE seen_at > now() - make_interval(secs => :within) ORDER BY model, host"
)


async def time_there(conn: Connection) -> datetime:
    """The database's clock, as it stands now."""
    row = await _TIME.row(conn, {})
    assert row is not None
    return row.now


_TIME = Statement("SELECT clock_timestamp() AS now")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A host whose row went: it gave no sign of life for `unseen_s` seconds."""

    host: str
    model: str
    unseen_s: float


async def forget(conn: Connection, *, unseen_s: float) -> list[Forgotten]:
    """Deletes hosts that gave no sign of life for so long, a day at least; which they were. For the relay's role."""
    return [Forgotten(*row) for row in await conn.execute(_FORGET, {"unseen": unseen_s})]


_FORGET = text("SELECT host, model, unseen_s FROM diwan_forget_hosts(make_interval(secs => :unseen))")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Agent runs of a ministry whose next call no engine has taken: how many, and for how long the oldest (seconds)."""

    runs: int
    oldest_s: float


async def waiting(conn: Connection, tenant: str, now: datetime) -> Waiting:
    """Of runs that go on and have no call under way: since their last call, result or beginning, by the service's time.

    An attempt that was sent to a host which then died counts as under way until the next is sent.
    """
    row = (await conn.execute(_WAITING, {"tenant": tenant})).one()
    oldest = 0.0 if row.since is None else max((now - row.since).total_seconds(), 0.0)
    return Waiting(row.runs, oldest)


_WAITING = text(
    "SELECT count(*) AS runs, min(since) AS since FROM ("
    "SELECT greatest(r.started_at,"
    " (SELECT max(m.ended_at) FROM model_call m WHERE m.tenant = r.tenant AND m.run_id = r.id),"
    " (SELECT max(t.ended_at) FROM tool_call t WHERE t.tenant = r.tenant AND t.run_id = r.id)) AS since "
    "FROM agent_run r WHERE r.tenant = :tenant AND r.status = 'running' AND NOT EXISTS ("
    "SELECT FROM model_call m WHERE m.tenant = r.tenant AND m.run_id = r.id AND m.status = 'sent' AND NOT EXISTS ("
    "SELECT FROM model_call n WHERE n.tenant = m.tenant AND n.run_id = m.run_id"
    " AND (n.call, n.attempt) > (m.call, m.attempt)))) runs"
)
