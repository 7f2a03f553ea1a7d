"""Workflows as somebody might change them, to test the replay: three ways strand open cases, one does not.

In a module of its own because workflows run in a sandbox that imports their module afresh.
"""

from __future__ import annotations

import time

from temporalio import workflow

from workflows.agent_run import AgentRunWorkflow
from workflows.calls import DRAIN_INBOX, PERFORM_STEP, CaseRef, StepRef, local, remote
from workflows.case import CaseWorkflow

with workflow.unsafe.imports_passed_through():
    from diwan.domain.case import Plan


@workflow.defn(name="Case")
class OneActivityMore(CaseWorkflow):
    """Looks into the inbox before every step, rung or not."""

    @workflow.run
    async def run(self, ref: CaseRef) -> None:
        await super().run(ref)

    async def _drained(self, ref: CaseRef, plan: Plan) -> Plan:
        return await super()._drained(ref, await local(DRAIN_INBOX, ref))


@workflow.defn(name="Case")
class OtherOrder(CaseWorkflow):
    """Sets a letter by a local activity where a remote one was on record."""

    @workflow.run
    async def run(self, ref: CaseRef) -> None:
        await super().run(ref)

    async def _act(self, step: StepRef) -> Plan:
        return await local(PERFORM_STEP, step)


@workflow.defn(name="Case")
class Patched(CaseWorkflow):
    """The extra look of `OneActivityMore`, made so that what was begun without it goes on without it."""

    @workflow.run
    async def run(self, ref: CaseRef) -> None:
        await super().run(ref)

    async def _drained(self, ref: CaseRef, plan: Plan) -> Plan:
        if workflow.patched("look-before-each-step"):
            plan = await local(DRAIN_INBOX, ref)
        return await super()._drained(ref, plan)


@workflow.defn(name="AgentRun")
class AgentRunAsItIs(AgentRunWorkflow):
    """The agent run, but for what becomes of an error.

    An agent run fails on any error, another code's history among them; then its case blocks and begins it anew. The
    replayer waits for ever for a workflow that fails so (temporalio 1.35).
    """

    @workflow.run
    async def run(self, step: StepRef) -> Plan:
        return await super().run(step)


@workflow.defn(name="AgentRun")
class OneTurnMore(AgentRunWorkflow):
    """Looks into the inbox before it begins."""

    @workflow.run
    async def run(self, step: StepRef) -> Plan:
        await remote(DRAIN_INBOX, step)
        return await super().run(step)


@workflow.defn(name="Case")
class LooksAtTheClock(CaseWorkflow):
    """Reads the time of the machine, which is another one at every replay."""

    @workflow.run
    async def run(self, ref: CaseRef) -> None:
        time.time()
        await super().run(ref)
