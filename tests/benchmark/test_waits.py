"""What the pool's bench reads of waits in a run's history: queues, and what was waited for a warm host in vain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.history.v1 import HistoryEvent

from bench.pool.waits import read, share
from workflows.calls import CALL_MODEL

RUNG = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)


class History:
    """Events by their number, each so many seconds after the ring."""

    def __init__(self) -> None:
        self.events: list[HistoryEvent] = []

    def queued(self, at_s: float, activity: str = CALL_MODEL.name, urgency: int = 1) -> int:
        event = self._event(at_s, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
        event.activity_task_scheduled_event_attributes.activity_type.name = activity
        event.activity_task_scheduled_event_attributes.priority.priority_key = urgency
        return event.event_id

    def started(self, at_s: float, queued: int) -> None:
        event = self._event(at_s, EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED)
        event.activity_task_started_event_attributes.scheduled_event_id = queued

    def given_up(self, at_s: float, queued: int, why: TimeoutType.ValueType) -> None:
        event = self._event(at_s, EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT)
        event.activity_task_timed_out_event_attributes.scheduled_event_id = queued
        event.activity_task_timed_out_event_attributes.failure.timeout_failure_info.timeout_type = why

    def ends(self, at_s: float) -> None:
        self._event(at_s, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED)

    def _event(self, at_s: float, kind: EventType.ValueType) -> HistoryEvent:
        event = HistoryEvent(event_id=len(self.events) + 1, event_type=kind)
        event.event_time.FromDatetime(RUNG + timedelta(seconds=at_s))
        self.events.append(event)
        return event


def test_a_call_waits_in_its_hosts_queue_and_then_in_the_models() -> None:
    history = History()
    history.started(0.5, history.queued(0.4, activity="begin_run"))
    history.started(1.5, history.queued(1.0))
    warm = history.queued(5.0)
    history.given_up(7.0, warm, TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START)
    history.started(7.25, history.queued(7.0))
    history.ends(12.0)
    found = read(history.events, RUNG)
    assert (found.begun_s, found.queued_s, found.whole_s, found.urgency) == (1.0, [0.5, 2.25], 12.0, 1)


def test_a_host_that_died_with_a_call_is_no_wait_in_a_queue() -> None:
    history = History()
    lost = history.queued(1.0)
    history.started(1.5, lost)
    history.given_up(6.5, lost, TimeoutType.TIMEOUT_TYPE_HEARTBEAT)
    history.started(7.0, history.queued(6.5))
    history.ends(9.0)
    assert read(history.events, RUNG).queued_s == [0.5, 0.5]


def test_a_run_without_a_call_is_none_to_measure() -> None:
    history = History()
    history.ends(1.0)
    with pytest.raises(ValueError, match="no call"):
        read(history.events, RUNG)


def test_a_share_lies_among_the_values() -> None:
    assert share([float(number) for number in range(101)], 99) == 99.0
