"""How one model call finds an engine: the run's warm host first, then whichever has room, until patience ends.

The call waits `host_wait_s` for the host that holds the run's prefix. Where that one does not take it, dies or fails,
the call goes to the model's shared queue and never to a host by name again: whoever answers it is the run's new warm
host. So a fall-back does not bounce between hosts that are gone.

Patience bounds what a call waits: from its beginning, and from the first fault of an engine that had it. Neither costs
the run anything of its own: a fault is no answer, and the time that it took, or that all engines were full, is not the
run's.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType, is_cancelled_exception
from temporalio.exceptions import TimeoutError as TemporalTimeout

with workflow.unsafe.imports_passed_through():
    from agents.loop import Turn
    from diwan.temporal import host_queue, turn_of

from workflows.calls import BEATS, CALL_MODEL, ModelCall, RunStart, StepRef

# A try is one attempt: were Temporal to try again by itself, patience would not bound it.
_ONCE = RetryPolicy(maximum_attempts=1)
_LEAST = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=10)


class ModelCalls:
    """The model calls of one run. `lost` is what was waited for: in queues, and for tries that came to nothing."""

    def __init__(self, step: StepRef, start: RunStart) -> None:
        self._step = step
        self._start = start
        self._patience = timedelta(seconds=start.patience_s)
        self.lost = timedelta(0)

    async def ask(self, call: int, *, final: bool, warm: str) -> Turn:
        """The answer of call number `call`. `warm` names the host of the one before, where that is known.

        Raises `ActivityError` when patience is at its end, or for what no other engine would mend.
        """
        given = ModelCall(**self._step.model_dump(), run=self._start.run, spec=self._start.spec, call=call, final=final)
        host = warm if self._start.host_wait_s else ""
        asked = workflow.now()
        until, faults = asked + self._patience, 0
        while True:
            began = workflow.now()
            try:
                turn = await self._try(given, host, until - began)
                self.lost += began - asked + timedelta(seconds=turn.waited_s)
                return turn
            except ActivityError as error:
                if not _may_pass(error, on_host=bool(host)):
                    raise
                now = workflow.now()
                if not _untaken(error):
                    faults += 1
                    until = now + self._patience if faults == 1 else until
                if now >= until:
                    raise
            if not host:
                await workflow.sleep(min(timedelta(seconds=2 ** min(faults - 1, 10)), _LONGEST_PAUSE, until - now))
            host = ""

    async def _try(self, given: ModelCall, host: str, left: timedelta) -> Turn:
        start = self._start
        wait = min(left, timedelta(seconds=start.host_wait_s)) if host else left
        return await workflow.execute_activity(
            CALL_MODEL.name,
            given,
            result_type=CALL_MODEL.gives,
            task_queue=host_queue(start.queue, host) if host else start.queue,
            schedule_to_start_timeout=max(wait, _LEAST),
            start_to_close_timeout=timedelta(seconds=start.call_limit_s),
            heartbeat_timeout=BEATS,
            retry_policy=_ONCE,
            priority=turn_of(given.tenant, start.priority, start.weight),
        )


def _untaken(error: ActivityError) -> bool:
    """Nobody took it in time."""
    return isinstance(error.cause, TemporalTimeout) and error.cause.type is TimeoutType.SCHEDULE_TO_START


def _may_pass(error: ActivityError, *, on_host: bool) -> bool:
    """Whether another engine, or the same one later, may answer: the host died, hangs, is full or away."""
    if is_cancelled_exception(error):
        return False
    if isinstance(error.cause, TemporalTimeout):
        return on_host or not _untaken(error)
    return isinstance(error.cause, ApplicationError) and not error.cause.non_retryable
