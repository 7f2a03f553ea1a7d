"""One agent run: model calls and tool calls in turn, decided by the pure loop in `agents/`.

Each model call is an activity on the model's own queue, where pool workers beside the engines pull; each tool
call is one too. The run always ends with `end_run`, answer or not: what an agent cannot do goes to a person.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType, is_cancelled_exception
from temporalio.exceptions import TimeoutError as TemporalTimeout

with workflow.unsafe.imports_passed_through():
    from agents.loop import CallModel, CallTools, GiveUp, ToolRequest, Turn, next_move
    from agents.registry import spec_of
    from diwan.domain.case import Plan

from workflows.calls import (
    BEATS,
    BEGIN_RUN,
    CALL_MODEL,
    CALL_TOOL,
    END_RUN,
    ModelCall,
    RunEnd,
    RunStart,
    StepRef,
    ToolCall,
    local,
    remote,
)

# Transport faults only: what the engine answered, good or bad, is a Turn and is the loop's business.
_ATTEMPTS = 3
# Reading what came may mean character recognition of many pages.
_READING = timedelta(minutes=15)
_PAUSE = timedelta(seconds=2)


@workflow.defn(name="AgentRun", failure_exception_types=[Exception])
class AgentRunWorkflow:
    """Id: `tenant/case/step/visit`; a child of its case."""

    @workflow.run
    async def run(self, step: StepRef) -> Plan:
        start = await remote(BEGIN_RUN, step, within=_READING)
        turns = list(start.turns)
        began = workflow.now()
        spec = spec_of(start.spec)
        reason = ""
        while True:
            move = next_move(spec, turns, elapsed_s=(workflow.now() - began).total_seconds())
            if isinstance(move, CallModel):
                try:
                    turns.append(await _call_patiently(step, start, call=len(turns) + 1, final=move.final))
                except ActivityError as error:
                    if is_cancelled_exception(error):
                        raise
                    reason = _why(error)
                    break
            elif isinstance(move, CallTools):
                results = [await _call_tool(step, start, len(turns), request) for request in move.requests]
                turns[-1] = turns[-1].with_results(results)
            else:
                reason = move.reason if isinstance(move, GiveUp) else ""
                break
        return await local(END_RUN, RunEnd(**step.model_dump(), run=start.run, spec=start.spec, reason=reason))


async def _call_patiently(step: StepRef, start: RunStart, *, call: int, final: bool) -> Turn:
    """Again and again while the fault may pass (an engine restarts, a host died), until patience ends."""
    until = workflow.now() + timedelta(seconds=start.patience_s)
    while True:
        try:
            return await _call_model(step, start, call=call, final=final)
        except ActivityError as error:
            if is_cancelled_exception(error) or not _may_pass(error) or workflow.now() >= until:
                raise
            await workflow.sleep(_PAUSE)


def _may_pass(error: ActivityError) -> bool:
    cause = error.cause
    if isinstance(cause, TemporalTimeout):
        return cause.type is TimeoutType.HEARTBEAT
    return isinstance(cause, ApplicationError) and not cause.non_retryable


async def _call_model(step: StepRef, start: RunStart, *, call: int, final: bool) -> Turn:
    return await workflow.execute_activity(
        CALL_MODEL.name,
        ModelCall(**step.model_dump(), run=start.run, spec=start.spec, call=call, final=final),
        result_type=CALL_MODEL.gives,
        task_queue=start.queue,
        schedule_to_start_timeout=timedelta(seconds=start.patience_s),
        start_to_close_timeout=timedelta(seconds=start.call_limit_s),
        heartbeat_timeout=BEATS,
        retry_policy=RetryPolicy(maximum_attempts=_ATTEMPTS, initial_interval=timedelta(seconds=1)),
    )


async def _call_tool(step: StepRef, start: RunStart, call: int, request: ToolRequest) -> bool:
    given = ToolCall(
        **step.model_dump(), run=start.run, spec=start.spec, call=call, position=request.position, tool=request.tool
    )
    return await local(CALL_TOOL, given)


def _why(error: ActivityError) -> str:
    cause = error.cause
    if isinstance(cause, TemporalTimeout):
        return "engine_unavailable"
    if isinstance(cause, ApplicationError) and cause.type:
        return cause.type
    return "engine_unavailable"
