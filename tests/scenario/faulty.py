"""The command line, with a bug where `DIWAN_HOME/run/bug` names one: a worker that should not have been released."""

from __future__ import annotations

import os
from pathlib import Path

from activities.correspondence import Correspondence
from diwan import worker
from diwan.cli import main
from tests.scenario import faulty_workflows
from workflows.agent_run import AgentRunWorkflow
from workflows.calls import StepRef


async def _broken(_self: Correspondence, step: StepRef) -> bool:
    return bool(step.visit // 0)


def plant(bug: str) -> None:
    if bug == "activity":
        Correspondence.issue = _broken  # pyright: ignore[reportAttributeAccessIssue]
    elif bug:
        worker.WORKFLOWS = (faulty_workflows.CASES[bug], AgentRunWorkflow)  # pyright: ignore[reportAttributeAccessIssue]


if __name__ == "__main__":
    named = Path(os.environ["DIWAN_HOME"]) / "run" / "bug"
    plant(named.read_text() if named.exists() else "")
    main.run()
