"""Two real engines, 20 runs: hardly more is computed than by one alone, and every run ends when one of them dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import pytest

from tests.scenario.conftest import an_office
from tests.scenario.office import EXAMPLE, Json, Office
from tests.vllm import record
from tests.vllm.hosts import PAGES, computed, hosts, running
from tests.vllm.server import Server, own_engine

pytestmark = pytest.mark.timeout(1_800)

RUNS = 20
DOSSIER = EXAMPLE / "08-arabic-family-with-representative"
# The calls of a run: its pages, that it has read enough, its answer.
CALLS = PAGES + 2


@pytest.fixture(scope="module")
async def second(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server]:
    folder: Path = tmp_path_factory.mktemp("vllm-second")
    made = Server(folder)
    try:
        await made.start()
        yield made
    finally:
        await made.kill()


@pytest.fixture(scope="module")
async def desk(server: Server) -> AsyncGenerator[Office]:
    """A stack without a pool of its own: the tests bring the hosts.

    A busy machine without a GPU may keep a call waiting for long that would be taken at once by a host that is free.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DIWAN_AGENT_HOST_WAIT_S", "60")
        async with an_office(engine=own_engine(server), without=frozenset({"pool"}), agent_patience_s=900) as made:
            yield made


async def carried(desk: Office, count: int, reference: str) -> list[str]:
    """So many new cases whose agents read the same dossier, all at once, until a person has each."""
    accepted = [await desk.submit(DOSSIER, f"{reference}-{number}") for number in range(count)]
    cases = [str(each["case"]) for each in accepted]
    await asyncio.gather(*(desk.case_when(case, with_a_person, within_s=900) for case in cases))
    return cases


def with_a_person(view: Json) -> bool:
    return view["kind"] in ("task", "end")


async def spent(desk: Office, servers: Mapping[str, Server], salt: str, *, warm: bool = True) -> int:
    """Prompt tokens computed for `RUNS` runs on these engines, of which nothing was cached before."""
    before = await computed(servers)
    async with hosts(desk.stack, servers, salt=salt, warm=warm):
        cases = await carried(desk, RUNS, salt)
    for case in cases:
        calls = record.attempts(desk.stack, case)
        assert [call["call"] for call in calls if call["used"]] == list(range(1, CALLS + 1))
    return await computed(servers) - before


async def test_two_engines_compute_hardly_more_than_one_alone(desk: Office, server: Server, second: Server) -> None:
    both = {"one": server, "two": second}
    alone = await spent(desk, {"one": server}, "alone")
    ours = await spent(desk, both, "ours")
    random = await spent(desk, both, "random", warm=False)
    print(f"prompt tokens computed for {RUNS} runs of {CALLS} calls: alone {alone}, ours {ours}, random {random}")
    assert ours <= 1.15 * alone
    assert random >= 1.3 * ours


async def test_every_run_ends_when_an_engine_is_killed_under_it(desk: Office, server: Server, second: Server) -> None:
    async with hosts(desk.stack, {"one": server, "two": second}, salt="killed"):
        carrying = asyncio.ensure_future(carried(desk, 8, "killed"))
        async with asyncio.timeout(600):
            while not await running(second):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.05)
        await second.kill()
        cases = await carrying
    for case in cases:
        calls = record.attempts(desk.stack, case)
        assert [call["call"] for call in calls if call["used"]] == list(range(1, CALLS + 1))
