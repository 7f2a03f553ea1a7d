"""One host of two is killed, comes back, and the other is stopped: every case goes on, and each host is used again."""

from __future__ import annotations

import asyncio
import signal

from tests.faults.checker import Evidence, check
from tests.scenario.conftest import an_office
from tests.scenario.hosts import Engine, Host, attempts, examined, host, recorded, running, used_once
from tests.scenario.office import EXAMPLE, Json, Office, open_here

DOSSIER = EXAMPLE / "03-french-permit-too-old"
CASES = 6  # more than the room of one host
ROOM = "2"
# A lost call is known by the missing sign of life (10 s), and a stopped poll may swallow it once more.
LOST_S = 60.0


async def under_way(office: Office, story: str, *engines: Engine) -> list[str]:
    """Cases that wait in each of the engines, and in the queue."""
    asked = [engine.asked for engine in engines]
    for engine in engines:
        await engine.hold()
    cases = [(await office.submit(DOSSIER, f"{story}-{number}"))["case"] for number in range(CASES)]
    for engine, before in zip(engines, asked, strict=True):
        await engine.has_been_asked(before + 1)
    return cases


async def come_to_people(office: Office, cases: list[str]) -> list[Json]:
    """All attempts of cases whose runs ended with an answer: each call has one that counts, and somebody is asked."""
    rows: list[Json] = []
    for case in cases:
        view = await examined(office, case)
        assert not any(warning.startswith("agent_failed") for warning in view["proposal"]["warnings"])
        (task,) = open_here(await office.case_when(case, lambda v: bool(open_here(v))))
        assert task["roles"]
        of_case = attempts(office, case)
        assert used_once(of_case)
        rows += of_case
    return rows


def answered_by(rows: list[Json]) -> set[str]:
    return {row["host"] for row in rows if row["used"]}


def lost_on(rows: list[Json], lost: Host) -> list[Json]:
    return [row for row in rows if row["host"] == lost.name and not row["used"]]


async def test_hosts_that_are_lost_cost_seconds_and_are_used_again_when_they_return() -> None:
    async with (
        an_office(without=frozenset({"engine", "pool"}), agent_patience_s=300) as office,
        host(office, "one", engine_room=ROOM) as (one, first),
        host(office, "two", engine_room=ROOM) as (two, second),
    ):
        cases = await under_way(office, "killed", first, second)
        await one.kill()
        await second.release()
        rows = await come_to_people(office, cases)
        assert answered_by(rows) == {two.name}
        lost = lost_on(rows, one)
        assert lost
        assert {row["status"] for row in lost} == {"sent"}
        for row in lost:
            again = next(r for r in rows if r["run_id"] == row["run_id"] and r["call"] == row["call"] and r["used"])
            assert (again["started_at"] - row["started_at"]).total_seconds() < LOST_S

        async with running(one):
            cases = await under_way(office, "stopped", first, second)
            two.signal(signal.SIGSTOP)
            await first.release()
            rows = await come_to_people(office, cases)
            assert answered_by(rows) == {one.name}
            assert lost_on(rows, two)

            # It goes on: what it was asked is answered now, and is of no use to anybody.
            await second.release()
            two.signal(signal.SIGCONT)
            await two.is_in("serving")
            cases = await under_way(office, "returned", first)
            rows = [row for case in cases for row in await recorded(office, case, bool)]
            assert two.name in {row["host"] for row in rows}
            await first.release()
            assert {one.name, two.name} == answered_by(await come_to_people(office, cases))
            await asyncio.to_thread(nothing_doubled, office)


def nothing_doubled(office: Office) -> None:
    report = check(Evidence(database=office.stack.database_url("postgres")))
    assert not report.findings, report
