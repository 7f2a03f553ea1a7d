"""Personal data is nowhere in the clear: not in Temporal's histories, not in a log, not in Postgres's files."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from diwan.store.database import driver_url
from diwan.temporal import connect
from tests.scenario.again import asked, calls_of, ended
from tests.scenario.office import EXAMPLE, Office, opening

NAME = "Zoubida Planterose"
TOLD = "Chrysantheme-4711"
NUMBER = "ZZ987654"
PLANTED = (NAME, "Planterose", TOLD, NUMBER)
SAMPLE = json.loads((EXAMPLE / "03-french-permit-too-old" / "application.json").read_text())


async def test_what_is_planted_is_found_nowhere(office: Office) -> None:
    party = {"role": "applicant", "name": NAME, "language": "fr", "identity_number": NUMBER, "address": TOLD}
    document = f"CARTE NATIONALE\nNom : {NAME}\nNationalité : marocaine\nN° CIN : {NUMBER}\nNote : {TOLD}\n".encode()
    application = {
        "procedure": "direct-housing-aid",
        "reference": "leak",
        "language": "fr",
        "parties": [party],
        "answers": {**SAMPLE["answers"], "identity_number": NUMBER, "residence": TOLD, "notary": NAME},
        "documents": [{"name": f"{NAME}.txt", "part": "d"}],
    }
    accepted = (await office.send(opening("leak", application), {"d": document})).json()
    case = accepted["case"]
    task = await office.at(case, "request_review")
    assert (await office.act("clerk", task, "reject", reason=f"Known to us: {TOLD}")).status_code == 200
    review = await office.at(case, "review")
    edited = await office.act("clerk", review, "edit", reason=TOLD, changes={"result": "refused"})
    assert edited.status_code == 200
    # An error that echoes its input would be the easiest leak.
    assert (await office.send(opening("leak-2", {**application, "parties": [{"name": NAME}]}))).status_code == 422
    assert (await office.act("clerk", review, "edit", changes={NAME: TOLD}, reason="x")).status_code >= 400

    await office.approve("supervisor", await office.get("supervisor", f"/v1/tasks/{review['id']}"))
    await office.approve("authority", await office.at(case, "sign"))
    assert [letter["kind"] for letter in (await office.closed(case))["letters"]] == ["receipt", "decision"]

    # What a model was told and answered travels once more, and comes back as it was or with where it differs.
    last = (await calls_of(office, case))[-1]
    again = await ended(office, await asked(office, case, last["number"]))
    assert again["status"] == "identical"

    await checkpoint(office)
    home = office.stack.home.path
    searched = await asyncio.to_thread(leaks, home)
    assert searched == []
    assert await histories_with_leaks(office, case, f"rerun/{again['id']}") == []
    # The search itself finds what is there.
    assert {path.split("/")[0] for path in await asyncio.to_thread(leaks, home, (case,))} >= {"postgres", "temporal"}
    assert any(path.startswith("logs/") for path in await asyncio.to_thread(leaks, home, ("issuer.started",)))


def leaks(home: Path, planted: tuple[str, ...] = PLANTED) -> list[str]:
    """Files under the stack's home that hold a planted string, as UTF-8 or UTF-16; nothing is left out."""
    needles = [word.encode(encoding) for word in planted for encoding in ("utf-8", "utf-16-le")]
    found: list[str] = []
    for path in sorted(home.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if any(needle in content for needle in needles):
                found.append(str(path.relative_to(home)))
    return found


async def histories_with_leaks(office: Office, case: str, *more: str) -> list[str]:
    """Ids of the case's workflows whose history, as Temporal gives it out, holds a planted string."""
    client = await connect(office.stack.urls.temporal, "diwan")
    found: list[str] = []
    ids = [f"demo/{case}", f"demo/{case}/examine/1", *(f"demo/{case}/{each}" for each in more)]
    for workflow_id in ids:
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        assert len(history.events) > 5
        # JSON has payloads in base64: look into their bytes.
        raw = b"".join(event.SerializeToString() for event in history.events)
        if any(word.encode() in raw for word in PLANTED):
            found.append(workflow_id)
    return found


async def checkpoint(office: Office) -> None:
    """All that Postgres holds is in its files."""
    engine = create_async_engine(driver_url(office.stack.database_url("postgres")), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("CHECKPOINT"))
    await engine.dispose()
