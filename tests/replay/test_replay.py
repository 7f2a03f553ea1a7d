"""Cases that are open under a stored version go on under the code as it is (docs/workflow-changes.md)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import temporalio.workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

import diwan
from diwan.procedures.examples import example_dossiers, example_names
from diwan.temporal import DATA_CONVERTER
from diwan.worker import WORKFLOWS, workflow_runner
from tests.replay.changed import AgentRunAsItIs, OneActivityMore, OneTurnMore, OtherOrder, Patched
from tests.support.histories import StoredHistory, read
from workflows.agent_run import AgentRunWorkflow
from workflows.calls import ALL_CALLS
from workflows.case import CaseWorkflow
from workflows.rerun import RerunWorkflow

FOLDER = Path(__file__).parent / "histories"
FILES = sorted(FOLDER.glob("*/*.json"))
NOW = sorted((FOLDER / diwan.__version__).glob("*.json"))
SCENARIOS = {
    *(folder.name for procedure in example_names() for folder in example_dossiers(procedure)),
    *("withdrawn-while-the-agent-works", "reset-while-the-agent-works", "no-engine", "date-comes-then-blocked"),
    *("call-run-again", "call-not-run-again"),
}


async def failures(stored: list[StoredHistory], *workflows: type) -> dict[str, str]:
    """What keeps these workflows from going on from histories, by the names of those."""
    replayer = Replayer(workflows=workflows, workflow_runner=workflow_runner(), data_converter=DATA_CONVERTER)
    found: dict[str, str] = {}
    names = iter(stored)

    async def histories() -> AsyncIterator[WorkflowHistory]:
        for each in stored:
            yield each.history

    async with replayer.workflow_replay_iterator(histories()) as results:
        async for result in results:
            name = next(names).name
            if result.replay_failure is not None:
                found[name] = str(result.replay_failure)
    return found


async def test_what_is_open_goes_on() -> None:
    assert len(FILES) >= len(NOW) > 20
    assert await failures([read(path) for path in FILES], CaseWorkflow, AgentRunAsItIs, RerunWorkflow) == {}


@pytest.mark.parametrize(
    ("workflow", "changed"),
    [
        ("Case", (OneActivityMore, AgentRunAsItIs)),
        ("Case", (OtherOrder, AgentRunAsItIs)),
        ("AgentRun", (CaseWorkflow, OneTurnMore)),
    ],
    ids=["one activity more", "another kind of activity", "one turn more"],
)
async def test_an_incompatible_change_is_found(workflow: str, changed: tuple[type, ...]) -> None:
    stranded = await failures([stored for stored in map(read, NOW) if stored.workflow == workflow], *changed)
    assert len(stranded) > 5
    assert all("TMPRL1100" in each for each in stranded.values()), stranded


async def test_a_change_behind_a_patch_is_compatible() -> None:
    assert await failures([read(path) for path in NOW], Patched, AgentRunAsItIs, RerunWorkflow) == {}


def test_later_calls_are_stored_on_a_hosts_queue_and_on_the_shared_one_as_they_were_before() -> None:
    before = sorted((FOLDER / "0.1.0-without-hosts").glob("*.AgentRun.json"))
    assert len(before) > 2
    assert [path.name for path in before if "@here" in path.read_text()] == []
    assert len([path for path in NOW if "@here" in path.read_text()]) > 5


def test_all_workflows_are_replayed() -> None:
    assert set(WORKFLOWS) == {CaseWorkflow, AgentRunWorkflow, RerunWorkflow}
    assert AgentRunAsItIs.__bases__ == (AgentRunWorkflow,)


def test_this_version_has_its_histories() -> None:
    """Of every workflow and every scenario. A release without them could strand cases unnoticed later."""
    stored = [read(path) for path in NOW]
    assert {each.workflow for each in stored} == {str(name_of(workflow)) for workflow in WORKFLOWS}
    assert {each.name.split(".")[0] for each in stored} == SCENARIOS


def test_every_activity_is_in_some_history() -> None:
    words = "\n".join(path.read_text() for path in NOW)
    # Local activities stand in markers, their names encoded.
    names = words + "\n".join(base64.b64decode(each).decode("utf-8", "replace") for each in payloads(words))
    assert [call.name for call in ALL_CALLS if call.name not in names] == []


def test_no_history_holds_personal_data_or_names_a_machine() -> None:
    planted = sorted(
        {word for name in example_names() for folder in example_dossiers(name) for word in personal(folder)}
    )
    assert len(planted) > 50
    for path in FILES:
        text = path.read_text()
        text += "\n".join(base64.b64decode(each).decode("utf-8", "replace") for each in payloads(text))
        assert [word for word in planted if word in text] == [], path
        # `here` is what an embedded stack calls its one host.
        assert not re.search(r'"(identity|stackTrace)"|@(?!here")[\w-]+"|/(work|home|root|usr)/', text), path


def name_of(workflow: type) -> str | None:
    return temporalio.workflow._Definition.must_from_class(workflow).name


def payloads(text: str) -> list[str]:
    """Everything that may be base64."""
    return [each for each in re.findall(r'":"([A-Za-z0-9+/]{8,}={0,2})"', text) if len(each) % 4 == 0]


def personal(folder: Path) -> set[str]:
    """What an application says of people: every string of its parties, and every answer that is not a plain word."""
    application: dict[str, Any] = json.loads((folder / "application.json").read_text())
    said = [*strings(application["parties"]), *strings(application["answers"])]
    return {each for each in said if len(each) > 5 and not re.fullmatch(r"[a-z_]+|\d{4}-\d\d-\d\d", each)}


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [each for item in value.values() for each in strings(item)]
    if isinstance(value, list):
        return [each for item in value for each in strings(item)]
    return [value] if isinstance(value, str) else []
