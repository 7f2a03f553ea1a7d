"""One agent run: model calls and tool calls in turn, decided by the pure loop in `agents/`.

Each model call is an activity on a model's queue, where pool workers beside the engines pull (`model_call.py`); each
tool call is one too. The run always ends with `end_run`, answer or not: what an agent cannot do goes to a person.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception
from temporalio.exceptions import TimeoutError as TemporalTimeout

with workflow.unsafe.imports_passed_through():
    from agents.loop import CallModel, CallTools, GiveUp, ToolRequest, next_move
    from agents.registry import spec_of
    from diwan.domain.case import Plan

from workflows.calls import (
    BEGIN_RUN,
    CALL_TOOL,
    END_RUN,
    RunEnd,
    RunStart,
    StepRef,
    ToolCall,
    local,
    remote,
)
from workflows.model_call import ModelCalls

# Reading what came may mean character recognition of many pages.
_READING = timedelta(minutes=15)


@workflow.defn(name="AgentRun", failure_exception_types=[Exception])
class AgentRunWorkflow:
    """Id: `tenant/case/step/visit`; a child of its case."""

    @workflow.run
    async def run(self, step: StepRef) -> Plan:
        start = await remote(BEGIN_RUN, step, within=_READING)
        turns = list(start.turns)
        models = ModelCalls(step, start)
        began = workflow.now()
        spec = spec_of(start.spec)
        reason = ""
        while True:
            move = next_move(spec, turns, elapsed_s=(workflow.now() - began - models.lost).total_seconds())
            if isinstance(move, CallModel):
                warm = turns[-1].host if turns else ""
                try:
                    turns.append(await models.ask(len(turns) + 1, final=move.final, warm=warm))
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
