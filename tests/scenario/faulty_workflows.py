"""Case workflows with a bug: one that raises, one that does more than is on record. See faulty.py."""

from __future__ import annotations

from temporalio import workflow

from workflows.calls import DRAIN_INBOX, CaseRef, StepRef, local
from workflows.case import CaseWorkflow

with workflow.unsafe.imports_passed_through():
    from diwan.domain.case import Plan


@workflow.defn(name="Case")
class Raising(CaseWorkflow):
    @workflow.run
    async def run(self, ref: CaseRef) -> None:
        await super().run(ref)

    async def _act(self, step: StepRef) -> Plan:
        raise ZeroDivisionError(step.step)


@workflow.defn(name="Case")
class OtherOrder(CaseWorkflow):
    @workflow.run
    async def run(self, ref: CaseRef) -> None:
        await super().run(ref)

    async def _drained(self, ref: CaseRef, plan: Plan) -> Plan:
        return await super()._drained(ref, await local(DRAIN_INBOX, ref))


CASES = {"workflow": Raising, "order": OtherOrder}
