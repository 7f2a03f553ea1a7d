"""A server that ignores urgency and fairness says nothing of it: Diwan tries, and refuses."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.client import Client

from diwan import fairness
from diwan.cli import fairness as at_start
from diwan.domain.errors import Final, Unavailable
from diwan.embedded import temporal
from diwan.embedded.temporal import EmbeddedTemporal
from diwan.temporal import connect
from tests.scenario.conftest import short_folder

PRIORITY_ONLY = ("matching.useNewMatcher=true", *temporal._DYNAMIC[2:])


@asynccontextmanager
async def server(monkeypatch: pytest.MonkeyPatch, *flags: str) -> AsyncGenerator[Client]:
    monkeypatch.setattr(temporal, "_DYNAMIC", flags)
    place = Path(short_folder())
    made = EmbeddedTemporal(place)
    await made.start()
    try:
        yield await connect(made.address, made.namespace)
    finally:
        made.stop()
        shutil.rmtree(place)


async def demand(client: Client, *, unfair: bool = False) -> None:
    await at_start.demand(cast("Any", SimpleNamespace(pool_unfair=unfair)), client, asyncio.Event())


async def test_the_embedded_server_keeps_order_and_nothing_is_left_of_the_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with server(monkeypatch, *temporal._DYNAMIC) as client:
        assert await fairness.examine(client) == fairness.Verdict(urgent=True, fair=True)
        await demand(client)
        async with asyncio.timeout(30):
            while [each async for each in client.list_workflows()]:  # noqa: ASYNC110 - a server's state
                await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("flags", "told"),
    [((), "Temporal ignores priority and fairness."), (PRIORITY_ONLY, "Temporal ignores fairness.")],
)
async def test_a_server_without_the_flags_is_refused(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], told: str
) -> None:
    async with server(monkeypatch, *flags) as client:
        with pytest.raises(Final) as refused:
            await demand(client)
        assert (refused.value.code, refused.value.message) == ("temporal.unfair", told)
        assert "matching.enableFairness=true" in refused.value.remedy
        assert "DIWAN_POOL_UNFAIR" in refused.value.remedy
        await demand(client, unfair=True)


async def test_a_server_that_does_not_answer_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(monkeypatch, *temporal._DYNAMIC) as client:
        assert (await fairness.examine(client)).well
    with pytest.raises(Unavailable):
        await fairness.examine(client)


def test_order_is_judged_by_who_came_in_the_first_half() -> None:
    flood, few = [f"flood/{number}" for number in range(8)], ["few/0", "few/1"]

    def judged(*given: str) -> tuple[bool, bool]:
        verdict = fairness.judge(given, urgent="urgent", few=few)
        return verdict.urgent, verdict.fair

    assert judged("urgent", flood[0], few[0], flood[1], few[1], *flood[2:]) == (True, True)
    assert judged(*flood, *few, "urgent") == (False, False)
    assert judged("urgent", *flood, *few) == (True, False)
    assert judged(few[0], few[1], *flood, "urgent") == (False, True)
