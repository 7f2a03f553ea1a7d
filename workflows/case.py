"""One case, from its first event to its end.

Postgres is the authority. The workflow asks what comes next (`Plan`), carries it out and asks again; the
transaction that records a step's result has named the next step already. So a lost run, a reset or a
continue-as-new costs nothing: the next run starts with `load_case`.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ChildWorkflowError,
    FailureError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from diwan.domain.case import Plan, StepKind

from workflows.agent_run import AgentRunWorkflow
from workflows.calls import (
    BLOCK_CASE,
    DRAIN_INBOX,
    LOAD_CASE,
    PERFORM_STEP,
    WAKE,
    BlockInput,
    CaseRef,
    StepRef,
    local,
    remote,
)

# How long a blocked case rests before it tries again by itself; a ring wakes it at once.
_REST = timedelta(minutes=5)


@workflow.defn(name="Case")
class CaseWorkflow:
    """Id: `tenant/case`. Started and rung by the relay; rings may be lost or doubled without harm."""

    def __init__(self) -> None:
        self._rung = False

    @workflow.signal(name="ring")
    def ring(self) -> None:
        """Something waits in the inbox. Carries nothing: the inbox itself says what."""
        self._rung = True

    @workflow.run
    async def run(self, ref: CaseRef) -> None:
        plan = await local(LOAD_CASE, ref)
        while True:
            plan = await self._drained(ref, plan)
            if plan.kind is StepKind.END:
                if not self._rung:
                    return
                continue
            try:
                plan = await self._carry_out(ref, plan)
            except (ActivityError, ChildWorkflowError) as error:
                plan = await self._rest(ref, plan, error)
            if workflow.info().is_continue_as_new_suggested() and not self._rung:
                workflow.continue_as_new(ref)

    async def _drained(self, ref: CaseRef, plan: Plan) -> Plan:
        while self._rung:
            self._rung = False
            plan = await local(DRAIN_INBOX, ref)
        return plan

    async def _carry_out(self, ref: CaseRef, plan: Plan) -> Plan:
        step = StepRef(tenant=ref.tenant, case=ref.case, step=plan.step, visit=plan.visit)
        if plan.kind is StepKind.ACT:
            return await remote(PERFORM_STEP, step)
        if plan.kind is StepKind.AGENT:
            return await self._run_agent(step, plan)
        return await self._wait(ref, plan)

    async def _wait(self, ref: CaseRef, plan: Plan) -> Plan:
        """For a person or an event, until the next date falls due. The date only wakes; `wake` decides."""
        if plan.wake_at is None:
            await workflow.wait_condition(lambda: self._rung)
            return plan
        left = plan.wake_at - workflow.now()
        try:
            await workflow.wait_condition(lambda: self._rung, timeout=max(left, timedelta(0)))
        except TimeoutError:
            return await local(WAKE, ref)
        return plan

    async def _run_agent(self, step: StepRef, plan: Plan) -> Plan:
        try:
            child = await workflow.start_child_workflow(
                AgentRunWorkflow.run, step, id=f"{step.workflow_id}/{step.step}/{step.visit}"
            )
        except WorkflowAlreadyStartedError:
            # The run of a case workflow that was reset or lost: let it end, then ask Postgres.
            await workflow.sleep(timedelta(seconds=10))
            return await local(LOAD_CASE, step)
        while True:
            await workflow.wait_condition(lambda: self._rung or child.done())
            if child.done():
                return await child
            now = await self._drained(step, plan)
            if (now.step, now.visit) != (step.step, step.visit):
                # The case went elsewhere (a withdrawal, say); what the run still answers is stored, never used.
                child.cancel()
                await _ended(child)
                return now

    async def _rest(self, ref: CaseRef, plan: Plan, error: FailureError) -> Plan:
        """The step cannot be done now, for a reason that trying again at once does not mend: block, alert, rest."""
        code = _code_of(error)
        workflow.logger.error("case.blocked", extra={"code": code, "step": plan.step})
        step = StepRef(tenant=ref.tenant, case=ref.case, step=plan.step, visit=plan.visit)
        await local(BLOCK_CASE, BlockInput(**step.model_dump(), code=code))
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._rung, timeout=_REST)
        return await local(LOAD_CASE, ref)


async def _ended(child: workflow.ChildWorkflowHandle[AgentRunWorkflow, Plan]) -> None:
    try:
        await child
    except ChildWorkflowError as error:
        if not is_cancelled_exception(error):
            workflow.logger.warning("agent_run.ended_badly_after_cancel", extra={"code": _code_of(error)})


def _code_of(error: BaseException) -> str:
    """The machine name of the innermost failure: an ApplicationError's type, else the class name."""
    code = type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        code = str(getattr(cause, "type", None) or type(cause).__name__)
        cause = cause.__cause__
    return code
