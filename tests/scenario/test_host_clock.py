"""A host whose clock is a day off serves by the database's, says so, and leaves no wrong instant on a case."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest

from tests.scenario import by_hand
from tests.scenario.conftest import an_office
from tests.scenario.hosts import attempts, examined, host
from tests.scenario.office import EXAMPLE, Office

DOSSIER = EXAMPLE / "03-french-permit-too-old"
DAY_S = 86_400.0


@pytest.fixture(scope="module")
async def alone() -> AsyncGenerator[Office]:
    """A stack without a pool; each test brings hosts."""
    async with an_office(without=frozenset({"engine", "pool"}), agent_patience_s=300) as made:
        yield made


@pytest.mark.parametrize(("name", "off_s"), [("ahead", DAY_S), ("behind", -DAY_S)])
async def test_no_instant_on_a_case_is_by_a_wrong_clock(
    alone: Office, name: str, off_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_CLOCK_OFF_S", str(off_s))
    began = datetime.now(UTC)
    async with host(alone, name, module="tests.scenario.clock_off") as (wrong, _):
        shown = await wrong.is_in("serving")
        assert shown["clock_off_s"] == pytest.approx(off_s, abs=30)
        status = await by_hand.diwan(alone, "pool", "status", "--as", "operator")
        assert wrong.name in [each["host"] for each in status["hosts"] if abs(each["clock_off_s"]) > DAY_S / 2]
        case = (await alone.submit(DOSSIER, f"clock-{name}"))["case"]
        view = await examined(alone, case)
    ended = datetime.now(UTC)
    assert not any(warning.startswith("agent_failed") for warning in view["proposal"]["warnings"])
    rows = attempts(alone, case)
    assert rows
    assert all(began <= row["started_at"] <= row["ended_at"] <= ended for row in rows)
    story = (await alone.get("auditor", f"/v1/cases/{case}/story"))["items"]
    instants = [datetime.fromisoformat(line["at"]) for line in story]
    assert instants == sorted(instants)
    assert instants[-1] - instants[0] < timedelta(minutes=5)
