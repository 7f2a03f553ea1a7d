"""One case, from its first event to its end.

Postgres is the authority. The workflow asks what comes next (`Plan`), carries it out and asks again; the
transaction that records a step's result has named the next step already. So a lost run, a reset or a
continue-as-new costs nothing: the next run starts with `load_case`.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta

from temporalio import workflow
from temporalio.common import WorkerDeploymentVersion
from temporalio.exceptions import (
    ActivityError,
    ChildWorkflowError,
    FailureError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from diwan.domain.case import Plan, StepKind
    from diwan.temporal import turn_of

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
# Between two looks at a date that Temporal's clock says is due and ours says is not.
_SKEW = timedelta(seconds=1)

Child = workflow.ChildWorkflowHandle[AgentRunWorkflow, Plan]


@workflow.defn(name="Case")
class CaseWorkflow:
    """Id: `tenant/case`. Started and rung by the relay; rings may be lost or doubled without harm."""

    def __init__(self) -> None:
        self._rung = False
        self._began: WorkerDeploymentVersion | None = None

    @workflow.signal(name="ring")
    def ring(self) -> None:
        """Something waits in the inbox. Carries nothing: the inbox itself says what."""
        self._rung = True

    @workflow.run
    async def run(self, ref: CaseRef) -> None:
        self._began = workflow.info().get_current_deployment_version()
        plan: Plan | None = None
        while plan is None or plan.kind is not StepKind.END or self._rung:
            try:
                plan = await self._advance(ref, plan)
            except (ActivityError, ChildWorkflowError) as error:
                await self._rest(ref, plan, error)
                plan = None

    async def _advance(self, ref: CaseRef, plan: Plan | None) -> Plan:
        """One thing done: the inbox first, then dates that are over, then the step."""
        plan = await self._drained(ref, plan or await local(LOAD_CASE, ref))
        if _due_in(plan) == timedelta(0):
            return await self._wake(ref, plan)
        if plan.kind is StepKind.END:
            return plan
        if self._should_begin_anew() and not self._rung:
            workflow.continue_as_new(ref)
        step = StepRef(tenant=ref.tenant, case=ref.case, step=plan.step, visit=plan.visit)
        if plan.kind is StepKind.ACT:
            return await self._act(step)
        if plan.kind is StepKind.AGENT:
            return await self._run_agent(step, plan)
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._rung, timeout=_due_in(plan))
        return plan

    def _should_begin_anew(self) -> bool:
        """The history is long; or a worker of another version carries it on, who need not read the former one's again.

        Asked where no child is open and the inbox is drained.
        """
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.get_current_deployment_version() != self._began

    async def _drained(self, ref: CaseRef, plan: Plan) -> Plan:
        while self._rung:
            self._rung = False
            plan = await local(DRAIN_INBOX, ref)
        return plan

    async def _wake(self, ref: CaseRef, plan: Plan) -> Plan:
        """The date only wakes; one transaction decides, after what was accepted before it."""
        after = await local(WAKE, ref)
        if after.version == plan.version:
            await workflow.sleep(_SKEW)
        return after

    async def _act(self, step: StepRef) -> Plan:
        plan = await remote(PERFORM_STEP, step)
        if (plan.step, plan.visit) == (step.step, step.visit):
            # Not done: something came in that counts before it.
            return await local(DRAIN_INBOX, step)
        return plan

    async def _run_agent(self, step: StepRef, plan: Plan) -> Plan:
        try:
            child: Child = await workflow.start_child_workflow(
                AgentRunWorkflow.run,
                step,
                id=f"{step.workflow_id}/{step.step}/{step.visit}",
                priority=turn_of(step.tenant, plan.priority),
            )
        except WorkflowAlreadyStartedError:
            # The run of a case workflow that was reset or lost: let it end, then ask Postgres.
            await workflow.sleep(timedelta(seconds=10))
            return await local(LOAD_CASE, step)
        try:
            return await self._beside(child, step, plan)
        finally:
            if not child.done():
                # The case goes elsewhere (a withdrawal, say); what the run still answers is stored, never used.
                child.cancel()
                await _ended(child)

    async def _beside(self, child: Child, step: StepRef, plan: Plan) -> Plan:
        """Hears the bell and keeps dates while the agent works."""
        while not child.done():
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(lambda: self._rung or child.done(), timeout=_due_in(plan))
            if child.done():
                break
            plan = await self._drained(step, plan)
            if _due_in(plan) == timedelta(0):
                plan = await self._wake(step, plan)
            if (plan.step, plan.visit) != (step.step, step.visit):
                return plan
        return await child

    async def _rest(self, ref: CaseRef, plan: Plan | None, error: FailureError) -> None:
        """It cannot be done now, for a reason that trying again at once does not mend: block, alert, rest."""
        code = _code_of(error)
        step, visit = (plan.step, plan.visit) if plan else ("", 0)
        workflow.logger.error("case.rests", extra={"code": code})  # `case.blocked` says where, under the case's lock
        # With Postgres away nothing can be recorded: the case rests all the same, and is not lost.
        with contextlib.suppress(ActivityError):
            await local(BLOCK_CASE, BlockInput(tenant=ref.tenant, case=ref.case, step=step, visit=visit, code=code))
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._rung, timeout=_REST)


def _due_in(plan: Plan) -> timedelta | None:
    """How long until the next date; None where there is none, zero where it is over."""
    if plan.wake_at is None:
        return None
    return max(plan.wake_at - workflow.now(), timedelta(0))


async def _ended(child: Child) -> None:
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
