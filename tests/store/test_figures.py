"""What operators watch is counted by the relay's role; a case keeps its trace, and so do its entries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import orjson
import psycopg
import pytest

from diwan.store.database import Database
from diwan.store.entries import entries_of
from diwan.store.figures import count_all, count_stuck
from diwan.store.traces import CaseTraces
from diwan.tracing import spans
from tests.store.conftest import Opened
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT

SENDER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_what_waits_is_counted_by_ministry(
    demo: TestDatabase, open_case: Opened, connect: Callable[[str], Database], now: datetime
) -> None:
    for reference in ("one", "two"):
        await open_case(reference)
    relay = connect("diwan_relay")
    async with relay.transaction(None, snapshot=True) as conn:
        found = await count_all(conn, now + timedelta(hours=1))
        stuck = await count_stuck(conn, now + timedelta(hours=1))
    assert (found.events.count, found.events.oldest_s) == ({(TENANT,): 2}, {(TENANT,): 3600.0})
    assert (found.open, found.blocked, found.frozen) == ({(TENANT,): 2}, {(TENANT,): 0}, {(TENANT,): 0})
    assert found.tasks.count == {}
    assert stuck == {(TENANT, "unconsumed"): 2}


async def test_a_case_and_all_its_entries_keep_the_trace_that_it_was_opened_under(
    open_case: Opened, worker: Database
) -> None:
    with spans.request("POST", sender=SENDER):
        case = await open_case("traced")
    assert await CaseTraces(worker).of(TENANT, case) == SENDER
    assert await CaseTraces(worker).of(TENANT, await open_case("untraced")) == ""
    async with worker.transaction(TENANT) as conn:
        headers = [orjson.loads(entry.header) for entry in await entries_of(conn, TENANT, case)]
    assert {header["trace_id"] for header in headers} == {SENDER[3:35]}


def test_no_text_fits_into_a_trace_context(demo: TestDatabase) -> None:
    with demo.superuser() as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("update case_file set version = version + 1, traceparent = 'Zoubida P.'")
