"""What the history of a workflow's run says, read from Temporal's own JSON: activities, results, runs it led to.

Temporal's replayer and its command line write and read the same. Histories hold ids, states and hashes only.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from diwan.domain.errors import Tampered

Json = dict[str, Any]

# How a run may end, by the event that says it.
_ENDINGS = {
    f"EVENT_TYPE_WORKFLOW_EXECUTION_{name}": name.lower()
    for name in ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELED", "TERMINATED", "CONTINUED_AS_NEW")
}
_ATTRIBUTES = "EventAttributes"
_LOCAL = "core_local_activity"


@dataclass(slots=True)
class Activity:
    """One that was scheduled. `given` and `result` as JSON where the history has them: of a local one not what it was
    given. `done`: it completed."""

    id: str
    type: str
    local: bool
    given: Json = field(default_factory=dict[str, Any])
    result: Any = None
    done: bool = False


@dataclass(frozen=True)
class History:
    """`ended` is empty while the run goes on. `follows`: the run before it in its chain; `leads_to`: (workflow, run) of
    children and of the run after it. `faulty`: a workflow task failed or was late, and was done again."""

    workflow: str
    events: int
    ended: str
    activities: Mapping[str, Activity]
    follows: str
    leads_to: Sequence[tuple[str, str]]
    faulty: bool


def read_history(content: bytes, workflow_id: str) -> History:
    """Raises `Tampered` (`history.unreadable`, `history.cut`) where it is none, or not whole."""
    try:
        events = [_event(each) for each in json.loads(content)["events"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Tampered("history.unreadable", "A history cannot be read.") from None
    numbers = [each.number for each in events]
    if not events or numbers != list(range(1, len(events) + 1)) or events[0].type != _STARTED:
        raise Tampered("history.cut", "A history does not begin with its start, or has gaps.")
    if any(each.type in _ENDINGS for each in events[:-1]):
        raise Tampered("history.cut", "A history goes on after its end.")
    try:
        return _read(events, workflow_id)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise Tampered("history.unreadable", "A history has an event that cannot be read.") from None


def whole(history: History) -> History:
    """A history of a run that has ended. Raises `Tampered` where its end is missing."""
    if not history.ended:
        raise Tampered("history.cut", "A history ends before the end of its run.")
    return history


@dataclass(frozen=True, slots=True)
class _Event:
    number: int
    type: str
    said: Json


_STARTED = "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"


def _event(told: Json) -> _Event:
    said: Json = next(
        (cast(Json, value) for name, value in told.items() if name.endswith(_ATTRIBUTES)), dict[str, Any]()
    )
    return _Event(int(told["eventId"]), str(told["eventType"]), said)


def _read(events: Sequence[_Event], workflow_id: str) -> History:
    first, last = events[0].said, events[-1]
    return History(
        workflow=str(first["workflowType"]["name"]),
        events=len(events),
        ended=_ENDINGS.get(last.type, ""),
        activities={each.id: each for each in _activities(events)},
        follows=str(first.get("continuedExecutionRunId", "")),
        leads_to=list(_led_to(events, workflow_id)),
        faulty=any(each.type in _FAULTS for each in events),
    )


_FAULTS = ("EVENT_TYPE_WORKFLOW_TASK_FAILED", "EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT")


def _activities(events: Iterable[_Event]) -> Iterable[Activity]:
    scheduled: dict[str, Activity] = {}
    for event in events:
        said = event.said
        if event.type == "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED":
            name = str(said["activityType"]["name"])
            made = Activity(str(said["activityId"]), name, local=False, given=_payload(said.get("input")) or {})
            scheduled[str(event.number)] = made
            yield made
        elif event.type == "EVENT_TYPE_ACTIVITY_TASK_COMPLETED":
            done = scheduled[str(said["scheduledEventId"])]
            done.done, done.result = True, _payload(said.get("result"))
        elif event.type == "EVENT_TYPE_MARKER_RECORDED" and said.get("markerName") == _LOCAL:
            yield _local(said)


def _local(said: Json) -> Activity:
    details = said["details"]
    data = _payload(details["data"])
    return Activity(
        str(data["activity_id"]),
        str(data["activity_type"]),
        local=True,
        result=_payload(details.get("result")),
        done="failure" not in said,
    )


def _payload(of: Json | None) -> Any:
    """The first payload, as the JSON that it is; None where there is none."""
    payloads: list[Json] = [] if of is None else of.get("payloads", [])
    data = payloads[0].get("data") if payloads else None
    return None if not data else json.loads(base64.b64decode(data, validate=True))


def _led_to(events: Iterable[_Event], workflow_id: str) -> Iterable[tuple[str, str]]:
    for event in events:
        if event.type == "EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED":
            child = event.said["workflowExecution"]
            yield str(child["workflowId"]), str(child["runId"])
        elif event.type in _ENDINGS and event.said.get("newExecutionRunId"):
            yield workflow_id, str(event.said["newExecutionRunId"])
