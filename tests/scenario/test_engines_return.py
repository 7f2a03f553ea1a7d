"""No engine at all, then engines: what people took over stays with them, and every other open case uses them again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.scenario import by_hand
from tests.scenario.conftest import an_office
from tests.scenario.hosts import examined, host
from tests.scenario.office import EXAMPLE, Json, Office, open_here

WITH_ALL = EXAMPLE / "03-french-permit-too-old"
PIECE_MISSING = EXAMPLE / "02-french-promise-missing"
PATIENCE_S = 45


async def asked_of_people(office: Office, folder: Path, reference: str) -> Json:
    """A case whose dossier no engine read; what it was opened with."""
    accepted = await office.submit(folder, reference)
    assert failed(await examined(office, accepted["case"]))
    return accepted


async def asked_engine(office: Office, case: str) -> list[int]:
    """The visits of the agent's step in which an engine answered, by the ledger."""
    story = (await office.get("auditor", f"/v1/cases/{case}/story"))["items"]
    return sorted({line["visit"] for line in story if line["kind"] == "agent:model:called"})


async def test_open_cases_use_engines_again_when_they_return() -> None:
    async with an_office(without=frozenset({"engine", "pool"}), agent_patience_s=PATIENCE_S) as office:
        theirs, to_come = await asyncio.gather(
            asked_of_people(office, WITH_ALL, "return-theirs"),
            asked_of_people(office, PIECE_MISSING, "return-to-come"),
        )
        # Its agent's step comes again, once the piece is there that is missing.
        (task,) = open_here(await office.get("auditor", f"/v1/cases/{to_come['case']}"))
        await by_hand.diwan(office, "task", "approve", task["id"], "--as", "clerk")
        await office.case_when(to_come["case"], lambda v: v["step"] == "await_pieces")

        waiting = await office.submit(WITH_ALL, "return-waiting")
        async with host(office, "back"):
            view = await examined(office, waiting["case"])
            assert not failed(view)
            assert await asked_engine(office, waiting["case"]) == [1]

            await by_hand.supply(office, PIECE_MISSING, to_come["number"])
            view = await office.case_when(to_come["case"], lambda v: v["step"] == "review", within_s=PATIENCE_S * 2)
            assert not failed(view)
            assert await asked_engine(office, to_come["case"]) == [2]

            # Nobody takes from people what they have begun.
            view = await by_hand.finish(office, WITH_ALL, theirs)
            assert view["status"] == "closed"
            assert view["result"] == json.loads((WITH_ALL / "expected.json").read_text())["result"]
            assert await asked_engine(office, theirs["case"]) == []
            assert failed(view)


def failed(view: Json) -> bool:
    return "agent_failed.engine_unavailable" in view["proposal"]["warnings"]
