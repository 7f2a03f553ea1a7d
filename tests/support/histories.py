"""Histories of workflows as files: stored without what belongs to a machine or a run of the tests, and read back."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHistory

Json = dict[str, Any]

# Who polled (a process on a machine) and where code lay: nothing that replay needs.
_OF_A_MACHINE = frozenset({"identity", "stackTrace", "binaryChecksum"})
# The name of a process's own queue: its number, its machine, a number.
_OWN_QUEUE = re.compile(r"\d+@\S+")


@dataclass(frozen=True)
class StoredHistory:
    """`workflow` is the workflow's type; `name` says where it comes from."""

    name: str
    workflow: str
    history: WorkflowHistory


def store(path: Path, workflow: str, history: WorkflowHistory) -> None:
    """Writes one history, compact, a line an event, so that a diff shows which event changed."""
    events = [_scrubbed(event) for event in history.to_json_dict()["events"]]
    lines = ",\n".join(json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in events)
    head = json.dumps({"workflow": workflow, "id": history.workflow_id})[:-1]
    path.write_text(f'{head}, "events": [\n{lines}\n]}}\n', encoding="utf-8")


def read(path: Path) -> StoredHistory:
    stored: Json = json.loads(path.read_text(encoding="utf-8"))
    history = WorkflowHistory.from_json(stored["id"], {"events": stored["events"]})
    return StoredHistory(path.stem, stored["workflow"], history)


async def histories_of(client: Client, workflow_id: str) -> AsyncGenerator[tuple[str, WorkflowHistory]]:
    """Each run of the workflows whose id is or begins with `workflow_id`, oldest first, with its type."""
    runs = [run async for run in client.list_workflows() if f"{run.id}/".startswith(f"{workflow_id}/")]
    for run in sorted(runs, key=lambda run: (run.start_time, run.id)):
        handle = client.get_workflow_handle(run.id, run_id=run.run_id)
        yield run.workflow_type, await handle.fetch_history()


async def reset_to_start(client: Client, workflow_id: str) -> str:
    """What an administrator's reset to the first workflow task does; gives the id of the new run."""
    handle = client.get_workflow_handle(workflow_id)
    first = next(
        event.event_id
        for event in (await handle.fetch_history()).events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    )
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            reason="a test",
            request_id=f"reset-{workflow_id}-{first}",
            workflow_task_finish_event_id=first,
        )
    )
    return answer.run_id


def _scrubbed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _scrubbed(each) for name, each in value.items() if name not in _OF_A_MACHINE}
    if isinstance(value, list):
        return [_scrubbed(each) for each in value]
    return "own" if isinstance(value, str) and _OWN_QUEUE.fullmatch(value) else value
