"""The real server refuses, hangs, is killed and comes back: a run goes on or goes to a person, and nothing doubles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from diwan.temporal import connect
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


async def failing(office: Office, case: str, code: str, *, within_s: float = 300) -> None:
    """Waits until the case's model call has failed with this code and is to be tried again."""
    await recorded(office, case, lambda rows: bool(rows), within_s=within_s)
    client = await connect(office.stack.urls.temporal, "diwan")
    run = client.get_workflow_handle(f"{record.TENANT}/{case}/examine/1")
    async with asyncio.timeout(within_s):
        while True:
            described = await run.describe()
            pending = described.raw_description.pending_activities
            if any(each.last_failure.application_failure_info.type == code for each in pending):
                return
            await asyncio.sleep(0.2)


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
    assert [(row["call"], row["attempt"], row["status"]) for row in rows] == [(1, 1, "sent")]


async def test_a_server_that_hangs_is_given_up_in_time_and_asked_again(office: Office, server: Server) -> None:
    server.hang()
    try:
        case = (await office.submit(DOSSIER, "vllm-hang"))["case"]
        await failing(office, case, "engine.timed_out", within_s=CALL_LIMIT_S + 240)
    finally:
        server.go_on()
    view = await first_stop(office, case)
    assert not any(warning.startswith("agent_failed") for warning in view["proposal"]["warnings"])
    rows = record.attempts(office.stack, case)
    assert used_once(rows)
    given_up, asked_again = [row for row in rows if row["call"] == 1]
    assert (given_up["status"], asked_again["status"]) == ("sent", "answered")
    assert (asked_again["started_at"] - given_up["started_at"]).total_seconds() >= CALL_LIMIT_S


async def test_a_server_killed_midway_and_started_again_answers_the_rest_once(
    office: Office, misled: Office, server: Server
) -> None:
    case = (await office.submit(DOSSIER, "vllm-killed"))["case"]
    await recorded(office, case, lambda rows: any(row["used"] for row in rows))
    server.hang()  # whatever it is asked now stays in flight
    await recorded(office, case, lambda rows: rows[-1]["status"] == "sent")
    before = record.attempts(office.stack, case)
    await server.kill()
    await failing(office, case, "engine.unreachable")

    # While it is gone another office, which waits five seconds, leaves the dossier to a person.
    left = (await misled.submit(DOSSIER, "vllm-gone"))["case"]
    view = await first_stop(misled, left)
    assert view["step"] in NEEDS_PEOPLE
    assert "agent_failed.engine.unreachable" in view["proposal"]["warnings"]

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
    assert lost == before[-1]
    assert (lost["status"], again["status"]) == ("sent", "answered")


@pytest.mark.parametrize("which", ["office", "misled"])
async def test_nothing_was_lost_or_doubled(which: str, request: pytest.FixtureRequest) -> None:
    judged: Office = request.getfixturevalue(which)
    report = check(Evidence(database=judged.stack.database_url("postgres")))
    assert not report.findings, report


def used_once(rows: list[Json]) -> bool:
    """Every call of the run has exactly one answer that counts."""
    used = [row["call"] for row in rows if row["used"]]
    return used == list(range(1, len(used) + 1)) == sorted({row["call"] for row in rows})
