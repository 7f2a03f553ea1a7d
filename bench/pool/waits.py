"""What a case waited for, from Temporal's own history of its run: until its first call was queued, and in queues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import quantiles

from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from bench.cases import STEP, VISIT
from workflows.calls import CALL_MODEL


@dataclass(frozen=True)
class Waits:
    """Of one case, in seconds: from its ring to its first call in the model's queue, of each call in queues (a warm
    host's that did not take it included), and from its ring to the end of its run. `urgency`: of its calls."""

    begun_s: float
    queued_s: list[float]
    whole_s: float
    urgency: int


async def waits_of(client: Client, tenant: str, case: str, rung: datetime) -> Waits:
    """Of a case whose run has ended. `rung` by this machine's clock, which is also the server's."""
    history = await client.get_workflow_handle(f"{tenant}/{case}/{STEP}/{VISIT}").fetch_history()
    return read(history.events, rung)


def read(events: Sequence[HistoryEvent], rung: datetime) -> Waits:
    """Raises `ValueError` where no call was ever queued."""
    queued: dict[int, HistoryEvent] = {}
    calls: list[float] = []
    untaken = 0.0  # what the call at hand waited in vain for its warm host
    first: HistoryEvent | None = None
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            if event.activity_task_scheduled_event_attributes.activity_type.name == CALL_MODEL.name:
                queued[event.event_id] = event
                first = first or event
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            begun = queued.get(event.activity_task_started_event_attributes.scheduled_event_id)
            if begun is not None:
                calls.append(untaken + _between(begun, event))
                untaken = 0.0
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
            given_up = event.activity_task_timed_out_event_attributes
            begun = queued.get(given_up.scheduled_event_id)
            reason = given_up.failure.timeout_failure_info.timeout_type
            if begun is not None and reason == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START:
                untaken += _between(begun, event)
    if first is None:
        raise ValueError("no call was queued")
    return Waits(
        begun_s=(_time(first) - rung).total_seconds(),
        queued_s=calls,
        whole_s=(_time(events[-1]) - rung).total_seconds(),
        urgency=first.activity_task_scheduled_event_attributes.priority.priority_key,
    )


def share(values: Sequence[float], percent: int) -> float:
    """The percentile, by interpolation between values that were there."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _between(one: HistoryEvent, other: HistoryEvent) -> float:
    return (_time(other) - _time(one)).total_seconds()


def _time(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(UTC)
