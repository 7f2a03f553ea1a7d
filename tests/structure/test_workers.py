"""Every call of a workflow has an activity that takes and gives what the call says, and every queue has a poller."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path

import pytest
from temporalio import activity

from activities.casework import CaseActivities
from activities.model import ModelActivities
from activities.rerun_call import RerunCalls
from activities.reruns import Reruns
from activities.runs import RunActivities
from diwan import worker
from diwan.temporal import CASE_QUEUE, model_queue
from workflows.calls import ALL_CALLS

ROOT = Path(__file__).resolve().parents[2]


def _implementations() -> dict[str, typing.Any]:
    found: dict[str, typing.Any] = {}
    for holder in (CaseActivities, RunActivities, ModelActivities, Reruns, RerunCalls):
        for _, method in inspect.getmembers(holder, inspect.isfunction):
            definition = getattr(method, "__temporal_activity_definition", None)
            if definition is not None:
                assert isinstance(definition, activity._Definition)
                assert definition.name is not None
                found[definition.name] = method
    return found


def test_every_call_has_its_activity_and_no_activity_is_uncalled() -> None:
    assert set(_implementations()) == {call.name for call in ALL_CALLS}


@pytest.mark.parametrize("call", ALL_CALLS, ids=lambda call: call.name)
def test_types_agree(call: typing.Any) -> None:
    method = _implementations()[call.name]
    hints = typing.get_type_hints(method)
    (argument,) = [name for name in inspect.signature(method).parameters if name != "self"]
    assert hints[argument] is call.takes
    assert hints["return"] is call.gives


def test_a_case_worker_takes_few_workflow_tasks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart each open case has one; those that share its one thread with a hundred others are all late."""
    given: dict[str, typing.Any] = {}

    def made(_client: object, **named: typing.Any) -> None:
        given.update(named)

    monkeypatch.setattr(worker, "Worker", made)
    nothing: typing.Any = object()
    worker.case_worker(nothing, nothing, nothing)
    assert given["max_concurrent_workflow_tasks"] == 16


def test_queues_are_named_in_one_place() -> None:
    """A literal queue name elsewhere could be one that nobody polls."""
    assert CASE_QUEUE not in model_queue("any")
    for path in [*ROOT.glob("workflows/*.py"), *ROOT.glob("activities/*.py"), *ROOT.glob("diwan/**/*.py")]:
        if path.name != "temporal.py" or path.parent.name != "diwan":
            assert f'"{CASE_QUEUE}"' not in path.read_text(), path
