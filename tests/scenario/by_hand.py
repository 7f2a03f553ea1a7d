"""People finish a case with `diwan task` alone: what a clerk reads with her own eyes counts, whoever read it before."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.scenario.office import SOURCE, Json, Office, follow_up

PIECES = {"identity_card", "sale_promise", "habitation_permit", "non_ownership_certificate"}


async def diwan(office: Office, *words: str, expect: int = 0) -> Any:
    """Runs the command line as a person would; its JSON answer (if any), with the exit code that is expected."""
    settings = {"DIWAN_HOME": str(office.stack.home.path), "DIWAN_URL": office.stack.urls.web}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "diwan.cli.main", *words, "--output", "json"),
        env={**os.environ, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == expect, (words, errors.decode())
    return json.loads(out) if out else None


async def finish(office: Office, folder: Path, accepted: Json) -> Json:
    """Brings a sample dossier to its end as its `expected.json` says; gives the closed case."""
    case, number = accepted["case"], accepted["number"]
    expected: Json = json.loads((folder / "expected.json").read_text())

    def needs_someone(view: Json) -> bool:
        return view["kind"] in ("task", "wait", "end")

    seen = ("", 0)
    while True:
        view = await office.case_when(case, lambda v, left=seen: needs_someone(v) and (v["step"], v["visit"]) != left)
        seen = (view["step"], view["visit"])
        if view["status"] == "closed":
            return view
        if view["step"] == "await_pieces":
            await supply(office, folder, number)
            continue
        (task,) = [each for each in view["tasks"] if each["status"] == "open"]
        if expected["result"] == "withdrawn":
            await office.send(follow_up("diwan.application.withdrawn", number, f"withdraw-{number}", {}))
        elif view["step"] == "sign":
            await diwan(office, "task", "approve", task["id"], "--as", "authority")
        elif view["step"] == "request_review" and expected["at_first"]["missing_pieces"]:
            await diwan(office, "task", "approve", task["id"], "--as", "clerk")
        else:
            facts = {**expected["facts"]["document"], **_edits_of(expected)}
            await _enter(office, task, facts | await _pieces_of(office, case, expected))


async def _enter(office: Office, task: Json, changes: Json) -> None:
    """A clerk enters what she reads with her own eyes; a supervisor, who did not, approves it if it is still open."""
    sets = [word for name, value in changes.items() for word in ("--set", f"{name}={json.dumps(value).strip(chr(34))}")]
    await diwan(office, "task", "edit", task["id"], "--as", "clerk", "--reason", "Read by eye.", *sets)
    shown = await diwan(office, "task", "show", task["id"], "--as", "supervisor")
    if shown["status"] == "open":
        await diwan(office, "task", "approve", task["id"], "--as", "supervisor")


async def _pieces_of(office: Office, case: str, expected: Json) -> Json:
    """Which document is which piece, as a person sees at a glance: `piece.NAME` → document id."""
    brought = (await office.get("clerk", f"/v1/cases/{case}/documents"))["items"]
    kinds = {document["id"]: expected["documents"].get(document["name"]) for document in brought}
    return {f"piece.{kind}": document for document, kind in kinds.items() if kind in PIECES}


def _edits_of(expected: Json) -> Json:
    """What a person establishes in the sample even where an agent helps."""
    return {name: value for act in expected["acts"] for name, value in act.get("changes", {}).items()}


async def supply(office: Office, folder: Path, number: str) -> None:
    """The applicant sends the piece that was missing."""
    sent = json.loads((folder / "follow-ups" / "01-promise.json").read_text())
    files = {name: (folder / "follow-ups" / "documents" / name).read_bytes() for name in sent["documents"]}
    documents = [{"name": name, "part": name, "piece": piece} for name, piece in sent["documents"].items()]
    event = follow_up(sent["type"], number, f"pieces-{number}", {"note": sent["note"], "documents": documents})
    assert event["source"] == SOURCE
    assert (await office.send(event, files)).status_code == 202
