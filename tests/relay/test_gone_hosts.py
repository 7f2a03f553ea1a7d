"""Hosts of the pool that gave no sign of life for days are forgotten, by the database's clock, and named in the log."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from diwan.housekeeping import HOSTS_KEPT, GoneHosts
from diwan.store.database import Database
from diwan.store.pool_hosts import ENDED, OUT, SERVING, HostSigns, forget, give_sign
from tests.support.databases import TestDatabase

# Name → its state and when it was seen last, in days.
SEEN = {
    "serves": (SERVING, 0.0),
    "out": (OUT, 0.0),
    "silent": (SERVING, 6.9),
    "ended": (ENDED, 7.1),
    "died": (SERVING, 30.5),
}


@pytest.fixture
async def hosts(pool: Database, database: TestDatabase) -> None:
    for name, (state, _) in SEEN.items():
        reason = "hung" if state == OUT else ""
        async with pool.transaction(None) as conn:
            await give_sign(conn, HostSigns(name, "m", "", state, reason, 4, 4, 0, 0, 0, 0.0, 0, 0, "", "", "unknown"))
    with database.superuser() as connection:
        for name, (_, days) in SEEN.items():
            connection.execute(
                "update pool_host set seen_at = now() - make_interval(secs => %s) where host = %s",
                [days * 86_400, name],
            )


def left(database: TestDatabase) -> set[object]:
    with database.superuser() as connection:
        return {row[0] for row in connection.execute("select host from pool_host").fetchall()}


@pytest.mark.usefixtures("hosts")
async def test_those_that_are_long_gone_go_and_are_named(
    database: TestDatabase, connect: Callable[[str], Database]
) -> None:
    with capture_logs() as said:
        assert await GoneHosts(connect("diwan_relay")).pass_once() == 2
        assert await GoneHosts(connect("diwan_relay")).pass_once() == 0
    assert left(database) == {"serves", "out", "silent"}
    named = [(each["event"], each["host"], each["model"], each["unseen_days"]) for each in said]
    assert sorted(named) == [("pool_host.forgotten", "died", "m", 30), ("pool_host.forgotten", "ended", "m", 7)]
    assert HOSTS_KEPT.days == 7  # docs/operations.md says so


@pytest.mark.usefixtures("hosts")
async def test_whoever_asks_for_more_gets_none_that_was_seen_within_a_day(
    database: TestDatabase, connect: Callable[[str], Database]
) -> None:
    async with connect("diwan_relay").transaction(None) as conn:
        await forget(conn, unseen_s=-1.0)
    assert left(database) == {"serves", "out"}
