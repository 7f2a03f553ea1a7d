"""`make histories`: plays cases on a stack of its own and stores what Temporal recorded of each.

Into `histories/<version of Diwan>/`, for the code as it is. Folders of versions that were released are never written
again: cases begun under them are still open somewhere (docs/workflow-changes.md).
"""

from __future__ import annotations

import asyncio
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio.client import Client

import diwan
from diwan.cli.client import Client as Caller
from diwan.cli.credentials import AsRole
from diwan.cli.demo_play import Player
from diwan.cli.demo_samples import Sample, shipped_samples
from diwan.domain.case import StepKind
from diwan.domain.errors import NeedsPerson
from diwan.embedded.issuer import fetch_token
from diwan.embedded.temporal import EmbeddedTemporal
from diwan.temporal import connect
from tests.scenario.again import asked, calls_of, ended, spoil
from tests.scenario.conftest import an_office, short_folder
from tests.scenario.office import EXAMPLE, Office, follow_up
from tests.support.histories import histories_of, reset_to_start, store
from tests.workflows.conftest import Desk, plan, started, workers

FOLDER = Path(__file__).parent / "histories"
PATIENCE_S = 240.0
WITHDRAWN = "diwan.application.withdrawn"


async def record(folder: Path) -> int:
    """Plays all, and writes the histories; gives how many."""
    async with an_office() as office:
        client = await connect(office.stack.urls.temporal, "diwan")
        cases = await asyncio.to_thread(_samples, office)
        cases |= await _while_the_agent_works(office, client)
        again = await _run_again(office)
        cases |= await _without_an_engine(office)
        await asyncio.to_thread(_emptied, folder)
        kept = sum([await _keep(client, folder, name, f"demo/{case}") for name, case in (cases | again).items()])
    return kept + await _scripted(folder)


def _emptied(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()


def _samples(office: Office) -> dict[str, str]:
    """Every sample dossier, as the demo plays it; case by name."""
    home, began = office.stack.home.path, time.monotonic()
    with ExitStack() as stack:
        users = {
            role.value: stack.enter_context(
                Caller(office.stack.urls.web, lambda user=role.value: fetch_token(home, user))
            )
            for role in AsRole
        }
        player = Player(users, lambda: began + PATIENCE_S - time.monotonic(), time.sleep, print)
        with ThreadPoolExecutor(3) as threads:

            def played(sample: Sample) -> tuple[str, str]:
                return sample.name, str(player.play(sample).case["id"])

            return dict(threads.map(played, shipped_samples()))


async def _while_the_agent_works(office: Office, client: Client) -> dict[str, str]:
    """An applicant withdraws, and an administrator resets the case, while a model call waits for an engine."""
    await office.stack.stop_part("pool")
    withdrawn = await office.submit(EXAMPLE / "03-french-permit-too-old", "replay-withdrawn")
    reset = await office.submit(EXAMPLE / "03-french-permit-too-old", "replay-reset")
    for accepted in (withdrawn, reset):
        await office.case_when(accepted["case"], lambda view: view["step"] == "examine")
        await _waits_for_a_model(client, f"demo/{accepted['case']}/examine/1")
    await office.send(follow_up(WITHDRAWN, withdrawn["number"], "replay-withdrawal", {}))
    await reset_to_start(client, f"demo/{reset['case']}")
    await office.closed(withdrawn["case"])
    await office.stack.start_part("pool")
    await office.approve("clerk", await office.at(reset["case"], "review"))
    await office.approve("authority", await office.at(reset["case"], "sign"))
    await office.closed(reset["case"])
    return {"withdrawn-while-the-agent-works": withdrawn["case"], "reset-while-the-agent-works": reset["case"]}


async def _waits_for_a_model(client: Client, workflow_id: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            history = await client.get_workflow_handle(workflow_id).fetch_history()
            if any(
                each.activity_task_scheduled_event_attributes.activity_type.name == "call_model"
                for each in history.events
            ):
                return
            await asyncio.sleep(0.2)


async def _without_an_engine(office: Office) -> dict[str, str]:
    """No model answers until patience ends, and a person takes over; then the application is withdrawn."""
    await office.stack.stop_part("pool")
    accepted = await office.submit(EXAMPLE / "03-french-permit-too-old", "replay-no-engine")
    await office.case_when(accepted["case"], lambda view: view["kind"] == "task")
    await office.send(follow_up(WITHDRAWN, accepted["number"], "replay-no-engine-withdrawal", {}))
    await office.closed(accepted["case"])
    return {"no-engine": accepted["case"]}


async def _run_again(office: Office) -> dict[str, str]:
    """A model call of a closed case is sent again; another, whose stored answer somebody spoilt, is not."""
    accepted = await office.submit(EXAMPLE / "03-french-permit-too-old", "replay-run-again")
    await office.approve("clerk", await office.at(accepted["case"], "review"))
    await office.approve("authority", await office.at(accepted["case"], "sign"))
    case = (await office.closed(accepted["case"]))["id"]
    first, second, *_ = await calls_of(office, case)
    again = await ended(office, await asked(office, case, first["number"]))
    spoil(office, second)
    spoilt = await ended(office, await asked(office, case, second["number"]))
    assert (again["status"], spoilt["status"]) == ("identical", "not_run")
    return {
        "call-run-again": f"{case}/rerun/{again['id']}",
        "call-not-run-again": f"{case}/rerun/{spoilt['id']}",
    }


async def _scripted(folder: Path) -> int:
    """What a stack does not do within minutes: a date that comes, a step that cannot be done and later can."""
    place = short_folder()
    server = EmbeddedTemporal(place)
    await server.start()
    try:
        client = await connect(server.address, server.namespace)
        desk = Desk()
        desk.plans = [
            plan("await", StepKind.WAIT, wake_at=datetime.now(UTC) + timedelta(seconds=1)),
            plan("receipt", StepKind.ACT),
            plan("closed", StepKind.END),
        ]
        desk.broken = NeedsPerson("letter.impossible", "No such letter.", "Write one.")
        async with workers(client, desk):
            handle = await started(client)
            await desk.asked.wait()
            desk.broken = None
            await handle.signal("ring")
            await handle.result()
        return await _keep(client, folder, "date-comes-then-blocked", handle.id)
    finally:
        server.stop()
        shutil.rmtree(place)


async def _keep(client: Client, folder: Path, name: str, workflow_id: str) -> int:
    kept = 0
    async for workflow, history in histories_of(client, workflow_id):
        kept += 1
        store(folder / f"{name}.{kept}.{workflow}.json", workflow, history)
    return kept


if __name__ == "__main__":
    print(f"{asyncio.run(record(FOLDER / diwan.__version__))} histories in {FOLDER / diwan.__version__}")
