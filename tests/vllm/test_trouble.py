"""The real server refuses, hangs, is killed and comes back: a run goes on or goes to a person, and nothing doubles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from tests.faults.checker import Evidence, check
from tests.scenario.conftest import an_office
from tests.scenario.office import EXAMPLE, Json, Office
from tests.vllm import record
from tests.vllm.conftest import CALL_LIMIT_S
from tests.vllm.server import Server, own_engine
from tests.vllm.test_cases import NEEDS_PEOPLE, first_stop

pytestmark = pytest.mark.timeout(1_800)

DOSSIER = EXAMPLE / "03-french-permit-too-old"


async def recorded(office: Office, case: str, holds: Callable[[list[Json]], bool], *, within_s: float = 300) -> None:
    """Waits until `holds` of the attempts on record."""
    async with asyncio.timeout(within_s):
        while True:
            if holds(await asyncio.to_thread(record.attempts, office.stack, case)):
                return
            await asyncio.sleep(0.02)


async def failed(office: Office, case: str, *codes: str) -> None:
    """Waits until an attempt of the case has failed for one of these."""
    await recorded(office, case, lambda rows: any(row["status"] == "failed" and row["reason"] in codes for row in rows))


@pytest.fixture(scope="module")
async def misled(server: Server) -> AsyncGenerator[Office]:
    """An office whose registry names a model that the server does not serve, and that waits for nothing long."""
    async with an_office(engine=own_engine(server, name="another-model"), agent_patience_s=5) as made:
        yield made


async def test_a_server_of_another_model_is_asked_nothing_and_a_person_takes_over(misled: Office) -> None:
    case = (await misled.submit(DOSSIER, "vllm-unknown"))["case"]
    view = await first_stop(misled, case)
    assert view["step"] in NEEDS_PEOPLE
    assert "agent_failed.engine_unavailable" in view["proposal"]["warnings"]
    assert record.attempts(misled.stack, case) == []


async def test_a_server_that_hangs_is_given_up_before_its_call_is_and_asked_again(
    office: Office, server: Server
) -> None:
    case = (await office.submit(DOSSIER, "vllm-hang"))["case"]
    await recorded(office, case, lambda rows: any(row["used"] for row in rows))
    server.hang()  # whatever it is asked now stays in flight
    try:
        await failed(office, case, "engine.given_up")
    finally:
        server.go_on()
    view = await first_stop(office, case)
    assert not any(warning.startswith("agent_failed") for warning in view["proposal"]["warnings"])
    rows = record.attempts(office.stack, case)
    assert used_once(rows)
    (given_up,) = [row for row in rows if row["status"] == "failed"]
    assert (given_up["ended_at"] - given_up["started_at"]).total_seconds() < CALL_LIMIT_S
    of_call = [row for row in rows if row["call"] == given_up["call"]]
    assert [row["status"] for row in of_call] == ["failed", "answered"]


async def test_a_server_killed_midway_and_started_again_answers_the_rest_once(
    office: Office, misled: Office, server: Server
) -> None:
    case = (await office.submit(DOSSIER, "vllm-killed"))["case"]
    await recorded(office, case, lambda rows: any(row["used"] for row in rows))
    server.hang()  # whatever it is asked now stays in flight
    await recorded(office, case, lambda rows: rows[-1]["status"] == "sent")
    before = record.attempts(office.stack, case)
    await server.kill()
    await failed(office, case, "engine.unreachable", "engine.given_up")

    # While it is gone another office, which waits five seconds, leaves the dossier to a person.
    left = (await misled.submit(DOSSIER, "vllm-gone"))["case"]
    view = await first_stop(misled, left)
    assert view["step"] in NEEDS_PEOPLE
    assert "agent_failed.engine_unavailable" in view["proposal"]["warnings"]

    await server.start()
    view = await first_stop(office, case)
    assert view["step"] in NEEDS_PEOPLE
    assert not any(warning.startswith("agent_failed") for warning in view["proposal"]["warnings"])

    # What was answered before counts and was not asked again; what was in flight is on record, and asked once more.
    after = record.attempts(office.stack, case)
    answered = [row for row in before if row["used"]]
    assert [row for row in after if row["call"] <= len(answered)] == answered
    assert used_once(after)
    lost, again = [row for row in after if row["call"] == len(answered) + 1]
    assert (lost["attempt"], lost["request_sealed"]) == (before[-1]["attempt"], before[-1]["request_sealed"])
    assert (lost["status"], again["status"]) == ("failed", "answered")


@pytest.mark.parametrize("which", ["office", "misled"])
async def test_nothing_was_lost_or_doubled(which: str, request: pytest.FixtureRequest) -> None:
    judged: Office = request.getfixturevalue(which)
    report = check(Evidence(database=judged.stack.database_url("postgres")))
    assert not report.findings, report


def used_once(rows: list[Json]) -> bool:
    """Every call of the run has exactly one answer that counts."""
    used = [row["call"] for row in rows if row["used"]]
    return used == list(range(1, len(used) + 1)) == sorted({row["call"] for row in rows})
