"""Ringing when Temporal is away, or refuses one case: nobody else waits for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from temporalio.client import Client
from temporalio.common import Priority
from temporalio.service import RPCError, RPCStatusCode

from diwan.relay import Doorbell
from diwan.store.database import Database
from diwan.store.doorbell import cases_to_ring
from diwan.store.intake import accept_event
from tests.support.databases import TestDatabase
from tests.support.factories import application, envelope, ministry, sender
from tests.support.keyring import MemoryKeyring


class Temporal:
    """Stands in for a client: starts what it is asked to, but for the ids that it refuses with a status."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.turns: list[Priority] = []
        self.refused: dict[str, RPCStatusCode] = {}
        self.away = False

    async def start_workflow(self, _name: str, _given: object, *, id: str, **_options: Any) -> None:
        status = RPCStatusCode.UNAVAILABLE if self.away else self.refused.get(id)
        if status is not None:
            raise RPCError("no", status, b"")
        self.started.append(id.partition("/")[2])
        self.turns.append(_options["priority"])


@pytest.fixture
async def cases(database: TestDatabase, web: Database, keyring: MemoryKeyring, now: datetime) -> list[str]:
    """More cases with an event than are rung together."""
    await ministry(database, now=now)
    made: list[str] = []
    for _ in range(40):
        reference = f"ring-{uuid.uuid4().hex}"
        accepted = await accept_event(
            web, keyring, envelope(f"open-{reference}"), application(reference), [], client=sender(), now=now
        )
        assert accepted.case_id is not None
        made.append(accepted.case_id)
    return made


async def test_one_refused_case_keeps_nobody_waiting_and_nothing_is_lost_while_temporal_is_away(
    connect: Callable[[str], Database], cases: list[str], now: datetime
) -> None:
    relay, temporal = connect("diwan_relay"), Temporal()
    doorbell = Doorbell(relay, cast("Client", temporal), lambda: now)

    temporal.away = True
    assert await doorbell.pass_once() == 0
    async with relay.transaction(None) as conn:
        assert {bell.rings for bell in await cases_to_ring(conn, now)} == {0}

    temporal.away = False
    temporal.refused = {f"demo/{case}": RPCStatusCode.INVALID_ARGUMENT for case in cases[:3]}
    assert await doorbell.pass_once() == len(cases)
    assert sorted(temporal.started) == sorted(cases[3:])
    async with relay.transaction(None) as conn:
        assert await cases_to_ring(conn, now) == []
        again = await cases_to_ring(conn, now + timedelta(seconds=3))
    assert {bell.case for bell in again} == set(cases)


async def test_a_ring_says_how_urgent_the_case_is_and_what_its_ministry_weighs(
    connect: Callable[[str], Database], database: TestDatabase, cases: list[str], now: datetime
) -> None:
    with database.superuser() as connection:
        connection.execute("update tenant set settings = settings || '{\"weight\": 2.5}'")
    temporal = Temporal()
    for later, priority in ((timedelta(0), 4), (timedelta(days=365), 1)):
        temporal.turns, temporal.started = [], []
        await Doorbell(connect("diwan_relay"), cast("Client", temporal), lambda at=now + later: at).pass_once()
        assert set(temporal.turns) == {Priority(priority_key=priority, fairness_key="demo", fairness_weight=2.5)}
        assert set(cases) <= set(temporal.started)
