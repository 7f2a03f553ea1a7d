"""SIGTERM to a pool worker that holds a call: it is finished or handed back, and nothing waits for a time-out."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest

from tests.scenario.conftest import an_office
from tests.scenario.hosts import STOPS_WITHIN_S, attempts, examined, host, recorded, used_once
from tests.scenario.office import EXAMPLE, Office

DOSSIER = EXAMPLE / "03-french-permit-too-old"


@pytest.fixture(scope="module")
async def alone() -> AsyncGenerator[Office]:
    """A stack without a pool; each test brings hosts."""
    async with an_office(without=frozenset({"engine", "pool"}), agent_patience_s=300) as made:
        yield made


async def submitted(office: Office, reference: str) -> str:
    case: str = (await office.submit(DOSSIER, reference))["case"]
    return case


@pytest.mark.parametrize("call", [1, 2], ids=["shared-queue", "own-queue"])
async def test_a_host_that_is_stopped_finishes_its_call_and_takes_no_other(alone: Office, call: int) -> None:
    """The first call of a run comes from the model's queue, the second from the host's own."""
    async with host(alone, f"ends-{call}") as (ending, engine):
        await engine.hold(after=call - 1)
        case = await submitted(alone, f"term-{call}")
        await engine.has_been_asked(call)
        async with host(alone, f"stays-{call}") as (staying, _):
            ending.signal(signal.SIGTERM)
            other = await submitted(alone, f"term-{call}-meanwhile")
            rows = await recorded(alone, other, bool)
            assert {row["host"] for row in rows} == {staying.name}
            await engine.release()
            assert await ending.ended(within_s=STOPS_WITHIN_S) == 0
            for each in (case, other):
                await examined(alone, each)
        rows = attempts(alone, case)
        assert used_once(rows)
        assert {row["attempt"] for row in rows} == {1}
        assert [row["host"] for row in rows if row["call"] <= call] == [ending.name] * call
        assert {row["host"] for row in (*rows[call:], *attempts(alone, other))} == {staying.name}
        assert (await ending.shown())["state"] == "ended"


async def test_a_call_that_outlasts_the_drain_is_handed_back_and_answered_elsewhere(alone: Office) -> None:
    async with host(alone, "outlasted") as (ending, engine):
        await engine.hold()
        case = await submitted(alone, "term-outlasted")
        await engine.has_been_asked(1)
        async with host(alone, "answers") as (staying, _):
            asked = datetime.now(UTC)
            ending.signal(signal.SIGTERM)
            assert await ending.ended(within_s=STOPS_WITHIN_S) == 0
            view = await examined(alone, case)
    assert not any(warning.startswith("agent_failed") for warning in view["proposal"]["warnings"])
    rows = attempts(alone, case)
    assert used_once(rows)
    assert [(row["host"], row["status"]) for row in rows[:2]] == [(ending.name, "sent"), (staying.name, "answered")]
    # Long before its own time-out (330 s).
    assert (rows[1]["started_at"] - asked).total_seconds() < 2 * STOPS_WITHIN_S
