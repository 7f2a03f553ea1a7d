"""A recorded model call sent again: to one host after another of those that are what answered it then.

It is the least urgent of all work, so only a host with room to spare gets it, and it gives up in time. Whatever happens
it ends on record: by the pool worker that compared, or here as not run.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType, is_cancelled_exception
from temporalio.exceptions import TimeoutError as TemporalTimeout

with workflow.unsafe.imports_passed_through():
    from diwan.domain.rerun import Outcome
    from diwan.temporal import LEAST_URGENT, turn_of

from workflows.calls import BEATS, END_RERUN, PLAN_RERUN, RERUN_CALL, RerunEnd, RerunPlan, RerunRef, local

# For a host with room: until all is over, and on one host before the next is tried.
_PATIENCE, _PER_HOST = timedelta(minutes=10), timedelta(minutes=1)
_PAUSE = timedelta(seconds=5)
# What breaks so many engines is the call.
_MOST_FAULTS = 3
_ONCE = RetryPolicy(maximum_attempts=1)


@workflow.defn(name="Rerun", failure_exception_types=[Exception])
class RerunWorkflow:
    """Id: `tenant/case/rerun/ID`. Gives how it ended (domain Outcome)."""

    def __init__(self) -> None:
        self._faults = 0
        self._reason = ""

    @workflow.run
    async def run(self, given: RerunRef) -> str:
        try:
            outcome = await self._tried(given)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            self._reason, outcome = _why(error), ""
        return outcome or await local(END_RERUN, RerunEnd(**given.model_dump(), reason=self._reason))

    async def _tried(self, given: RerunRef) -> str:
        """How it ended; empty where no host came through it. Raises what no other host would do either."""
        until = workflow.now() + _PATIENCE
        while True:
            plan = await local(PLAN_RERUN, given)
            if plan.outcome != Outcome.ASKED.value:
                return plan.outcome
            self._reason = plan.why or self._reason
            for queue in plan.queues:
                if outcome := await self._sent(given, queue, plan):
                    return outcome
                if self._faults >= _MOST_FAULTS:
                    return ""
            if workflow.now() >= until:
                return ""
            await workflow.sleep(_PAUSE)

    async def _sent(self, given: RerunRef, queue: str, plan: RerunPlan) -> str:
        """Once to one host; empty where another may do better."""
        try:
            return await workflow.execute_activity(
                RERUN_CALL.name,
                given,
                result_type=RERUN_CALL.gives,
                task_queue=queue,
                schedule_to_start_timeout=_PER_HOST,
                start_to_close_timeout=timedelta(seconds=plan.call_limit_s),
                heartbeat_timeout=BEATS,
                retry_policy=_ONCE,
                priority=turn_of(given.tenant, LEAST_URGENT),
            )
        except ActivityError as error:
            if is_cancelled_exception(error) or _is_final(error):
                raise
            self._reason = _why(error)
            self._faults += not _untaken(error)
            return ""


def _untaken(error: ActivityError) -> bool:
    return isinstance(error.cause, TemporalTimeout) and error.cause.type is TimeoutType.SCHEDULE_TO_START


def _is_final(error: ActivityError) -> bool:
    return isinstance(error.cause, ApplicationError) and error.cause.non_retryable


def _why(error: ActivityError) -> str:
    if _untaken(error):
        return "rerun.no_room"
    if isinstance(error.cause, ApplicationError) and error.cause.type:
        return error.cause.type
    return "rerun.host_lost"
