"""What a history says is read from Temporal's own JSON; one that is cut, or no history, is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diwan.domain.errors import Tampered
from diwan.ledger.history import read_history, whole

STORED = Path(__file__).resolve().parents[1] / "replay" / "histories" / "0.1.0"
CASE, RUN = "01-arabic-granted-100000.1.Case.json", "01-arabic-granted-100000.2.AgentRun.json"
Events = list[dict[str, Any]]


def stored(name: str) -> tuple[str, Events]:
    told = json.loads((STORED / name).read_text(encoding="utf-8"))
    return told["id"], told["events"]


def content(events: Events) -> bytes:
    return json.dumps({"events": events}).encode()


def test_an_agents_run_did_what_its_history_says() -> None:
    workflow_id, events = stored(RUN)
    found = whole(read_history(content(events), workflow_id))
    assert (found.workflow, found.ended, found.events) == ("AgentRun", "completed", len(events))
    kinds = [(each.type, each.local) for each in found.activities.values()]
    assert kinds.count(("call_model", False)) == 4
    assert kinds.count(("call_tool", True)) == 6
    assert (kinds[0], kinds[-1]) == (("begin_run", False), ("end_run", True))
    assert all(each.done for each in found.activities.values())
    assert [each.given["call"] for each in found.activities.values() if each.type == "call_model"] == [1, 2, 3, 4]
    assert found.activities["12"].result["version"] == 15
    assert found.leads_to == []


def test_a_cases_run_names_the_runs_that_it_led_to() -> None:
    workflow_id, events = stored(CASE)
    found = read_history(content(events), workflow_id)
    (child,) = found.leads_to
    assert child[0] == f"{workflow_id}/examine/1"
    following = [*events[:-1], {**events[-1], "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW"}]
    following[-1] = {k: v for k, v in following[-1].items() if not k.endswith("EventAttributes")} | {
        "workflowExecutionContinuedAsNewEventAttributes": {"newExecutionRunId": "next"}
    }
    led = read_history(content(following), workflow_id)
    assert (led.ended, led.leads_to[-1]) == ("continued_as_new", (workflow_id, "next"))


def test_every_stored_history_can_be_read() -> None:
    for path in STORED.glob("*.json"):
        workflow_id, events = stored(path.name)
        found = read_history(content(events), workflow_id)
        assert found.workflow == path.stem.rpartition(".")[2], path.name


CHANGES: list[tuple[Callable[[Events], Any], str]] = [
    (lambda events: events[:-1], "history.cut"),
    (lambda events: events[1:], "history.cut"),
    (lambda events: events[:5] + events[6:], "history.cut"),
    (lambda events: [*events, {**events[1], "eventId": str(len(events) + 1)}], "history.cut"),
    (lambda events: [], "history.cut"),
    (lambda events: [{**events[0], "eventId": "x"}], "history.unreadable"),
    (lambda events: [{"eventId": "1", "eventType": events[0]["eventType"]}], "history.unreadable"),
    (lambda events: "none", "history.unreadable"),
]


@pytest.mark.parametrize(("change", "code"), CHANGES)
def test_what_is_not_a_whole_history_is_refused(change: Callable[[Events], Any], code: str) -> None:
    workflow_id, events = stored(RUN)
    with pytest.raises(Tampered) as caught:
        whole(read_history(json.dumps({"events": change(events)}).encode(), workflow_id))
    assert caught.value.code == code


def test_nothing_follows_the_end_of_a_run() -> None:
    workflow_id, events = stored(RUN)
    with pytest.raises(Tampered) as caught:
        read_history(content([*events, {**events[1], "eventId": str(len(events) + 1)}]), workflow_id)
    assert caught.value.code == "history.cut"


def test_bytes_that_are_no_json_are_no_history() -> None:
    for each in (b"", b"\xff", b"[]", b"null", b"[" * 5000):
        with pytest.raises(Tampered):
            read_history(each, "demo/c")
