"""A host is cut off while it holds a call: the call is answered elsewhere, once, and the host asks for no other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.pool.serving import serving
from tests.scenario.conftest import an_office
from tests.scenario.hosts import Engine, Host, attempts, becomes, examined, host, recorded, running, used_once
from tests.scenario.office import EXAMPLE, Office
from tests.support.cable import Cable, cable

DOSSIER = EXAMPLE / "03-french-permit-too-old"


@pytest.fixture(scope="module")
async def alone() -> AsyncGenerator[Office]:
    """A stack without a pool; each test brings hosts."""
    async with an_office(without=frozenset({"engine", "pool"}), agent_patience_s=300) as made:
        yield made


@dataclass
class Held:
    """A host that has the first call of a case, and the cable that it hangs by."""

    host: Host
    engine: Engine
    cable: Cable
    case: str


@asynccontextmanager
async def holding(office: Office, part: str) -> AsyncGenerator[Held]:
    """A host whose way to one part of the service, or to its engine, goes by a cable."""
    async with AsyncExitStack() as stack:
        engine = Engine()
        engine_port = urlsplit(await stack.enter_async_context(serving(engine))).port or 0
        database = office.stack.database_url("diwan_pool")
        database_port = urlsplit(database).port or 0
        temporal_port = int(office.stack.urls.temporal.rpartition(":")[2])
        ends = {"engine": engine_port, "database": database_port, "temporal": temporal_port}
        line = await stack.enter_async_context(cable(ends[part]))
        ways = {name: line.port if name == part else port for name, port in ends.items()}
        made = Host(
            office,
            f"cut-from-{part}",
            engine_url=f"http://127.0.0.1:{ways['engine']}",
            database_url_pool=database.replace(f":{database_port}/", f":{ways['database']}/"),
            temporal_address=f"127.0.0.1:{ways['temporal']}",
        )
        await stack.enter_async_context(running(made))
        await engine.hold()
        case = (await office.submit(DOSSIER, f"cut-{part}"))["case"]
        await engine.has_been_asked(1)
        try:
            yield Held(made, engine, line, case)
        finally:
            line.mend()
            await engine.release()


async def went_out(of: Host, reason: str) -> None:
    """By its own log: cut off from Postgres it can tell nobody else."""

    async def so() -> bool:
        return any(said.get("event") == "engine.out" and said.get("reason") == reason for said in of.said())

    await becomes(so)


@pytest.mark.parametrize(
    ("part", "reason", "left"),
    [
        ("temporal", "no_temporal", ("sent", "late")),
        ("database", "no_database", ("sent",)),
        ("engine", "unreachable", ("failed",)),
    ],
)
async def test_a_call_of_a_host_that_is_cut_off_is_answered_elsewhere_once(
    alone: Office, part: str, reason: str, left: tuple[str, ...]
) -> None:
    async with holding(alone, part) as held, host(alone, f"whole-{part}") as (whole, _):
        held.cable.cut()
        await went_out(held.host, reason)
        if part == "database":
            await held.engine.release()  # it has the answer, and cannot bring it home
        else:
            await held.host.is_in("out", reason)
        view = await examined(alone, held.case)
        assert not any(warning.startswith("agent_failed") for warning in view["proposal"]["warnings"])
        rows = attempts(alone, held.case)
        assert used_once(rows)
        assert {row["host"] for row in rows if row["used"]} == {whole.name}
        meanwhile = (await alone.submit(DOSSIER, f"cut-{part}-meanwhile"))["case"]
        await examined(alone, meanwhile)
        assert {row["host"] for row in attempts(alone, meanwhile) if row["used"]} == {whole.name}

        # It is back: what it still had is of no use, and it is asked again.
        await held.engine.release()
        held.cable.mend()
        await held.host.is_in("serving")
        (lost,) = [row for row in attempts(alone, held.case) if row["host"] == held.host.name]
        assert lost["status"] in left
        assert used_once(attempts(alone, held.case))
        await whole.kill()
        after = (await alone.submit(DOSSIER, f"cut-{part}-after"))["case"]
        await examined(alone, after)
        rows = await recorded(alone, after, used_once)
        assert {row["host"] for row in rows if row["used"]} == {held.host.name}
