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


@pytest.fixture(scope="module")
async def misled(server: Server) -> AsyncGenerator[Office]:
    """An office whose registry names a model that the server does not serve, and that waits for nothing long."""
    async with an_office(engine=own_engine(server, name="another-model"), agent_patience_s=5) as made:
        yield made


async def test_a_model_that_is_not_served_goes_to_a_person_after_one_attempt(misled: Office) -> None:
    case = (await misled.submit(DOSSIER, "vllm-unknown"))["case"]
    view = await first_stop(misled, case)
    assert view["step"] in NEEDS_PEOPLE
    assert "agent_failed.engine.unknown_model" in view["proposal"]["warnings"]
    rows = record.attempts(misled.stack, case)
    assert [(row["attempt"], row["status"], row["broken"]) for row in rows] == [(1, "failed", "engine.unknown_model")]


async def test_a_server_that_hangs_is_given_up_in_time_and_asked_again(office: Office, server: Server) -> None:
    server.hang()
    try:
        case = (await office.submit(DOSSIER, "vllm-hang"))["case"]
        await recorded(office, case, lambda rows: len(rows) >= 2, within_s=CALL_LIMIT_S + 240)
        first = record.attempts(office.stack, case)[0]
    finally:
        server.go_on()
    assert (first["status"], first["broken"]) == ("failed", "engine.timed_out")
    assert (first["ended_at"] - first["started_at"]).total_seconds() >= CALL_LIMIT_S
    view = await first_stop(office, case)
    assert not any(warning.startswith("agent_failed") for warning in view["proposal"]["warnings"])
    assert used_once(record.attempts(office.stack, case))


async def test_a_server_killed_midway_and_started_again_answers_the_rest_once(
    office: Office, misled: Office, server: Server
) -> None:
    case = (await office.submit(DOSSIER, "vllm-killed"))["case"]
    await recorded(office, case, lambda rows: any(row["used"] for row in rows))
    server.hang()  # whatever it is asked now stays in flight
    await recorded(office, case, lambda rows: rows[-1]["status"] == "sent")
    before = record.attempts(office.stack, case)
    await server.kill()

    # While it is gone another office, which waits five seconds, leaves the dossier to a person.
    left = (await misled.submit(DOSSIER, "vllm-gone"))["case"]
    view = await first_stop(misled, left)
    assert "agent_failed.engine.unreachable" in view["proposal"]["warnings"]

    await recorded(office, case, lambda rows: any(row["broken"] == "engine.unreachable" for row in rows))
    await server.start()
    view = await first_stop(office, case)
    assert view["step"] in NEEDS_PEOPLE
    assert not any(warning.startswith("agent_failed") for warning in view["proposal"]["warnings"])

    # What was answered before counts and was not asked again; what was in flight is on record as lost.
    after = record.attempts(office.stack, case)
    answered = [row for row in before if row["used"]]
    assert [row for row in after if row["call"] <= len(answered)] == answered
    assert used_once(after)
    (lost,) = [row for row in before if row["status"] == "sent"]
    ended = next(row for row in after if (row["call"], row["attempt"]) == (lost["call"], lost["attempt"]))
    assert (ended["status"], ended["broken"]) == ("failed", "engine.unreachable")


@pytest.mark.parametrize("which", ["office", "misled"])
async def test_nothing_was_lost_or_doubled(which: str, request: pytest.FixtureRequest) -> None:
    judged: Office = request.getfixturevalue(which)
    report = check(Evidence(database=judged.stack.database_url("postgres")))
    assert not report.findings, report


def used_once(rows: list[Json]) -> bool:
    """Every call of the run has exactly one answer that counts."""
    used = [row["call"] for row in rows if row["used"]]
    return used == list(range(1, len(used) + 1)) == sorted({row["call"] for row in rows})
