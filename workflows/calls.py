"""Names and typed inputs of the activities that workflows call; `activities/` implements each by its name.

Nothing here is personal data: every value ends in a Temporal history.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from agents.loop import Turn
    from diwan.domain.case import Plan

In = TypeVar("In")
Out = TypeVar("Out")


class CaseRef(BaseModel):
    """A case of a tenant. `tenant/case` is the id of its workflow."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    case: str

    @property
    def workflow_id(self) -> str:
        return f"{self.tenant}/{self.case}"


class StepRef(CaseRef):
    """One visit of a step; the key of everything that it does."""

    step: str
    visit: int


class BlockInput(StepRef):
    """`code` is the machine name of what went wrong; empty when the case goes on."""

    code: str


class RunStart(BaseModel):
    """What an agent run starts (or, after a lost run, goes on) from.

    `queue` is the task queue of the model; `patience_s` how long a call may wait there before people take over;
    `run` the id of its row; `turns` what is on record already. `priority` (1 before 5) and the tenant's `weight` say
    which of the calls that wait comes first; `host_wait_s` is how long, in whole seconds, a call waits for the host
    that holds the run's prefix before any other may take it; 0: not at all.
    """

    run: str
    spec: str
    queue: str
    patience_s: int
    call_limit_s: int
    turns: list[Turn]
    priority: int = 3
    weight: float = 1.0
    host_wait_s: int = 2


class ModelCall(StepRef):
    """`call` counts from 1; the last call of a run is `final`: typed output, no tools."""

    run: str
    spec: str
    call: int
    final: bool


class ToolCall(StepRef):
    """What the answer of model call `call` asked for at `position` (0-based). Its arguments are in Postgres."""

    run: str
    spec: str
    call: int
    position: int
    tool: str


class RunEnd(StepRef):
    """`reason` is empty when the run finished with an answer, else why it gave up."""

    run: str
    spec: str
    reason: str


class RerunRef(CaseRef):
    """A recorded model call that is to be sent again."""

    rerun: str


class RerunPlan(BaseModel):
    """`outcome`: how it ended, or `asked`. `queues` are those of the hosts that may take it now, the best first; where
    there is none `why` is the machine name of why not."""

    outcome: str
    queues: list[str] = []
    why: str = ""
    call_limit_s: int = 0


class RerunEnd(RerunRef):
    """`reason` is the machine name of why it was not run."""

    reason: str


@dataclass(frozen=True)
class Call(Generic[In, Out]):
    name: str
    takes: type[In]
    gives: type[Out]


LOAD_CASE = Call("load_case", CaseRef, Plan)
DRAIN_INBOX = Call("drain_inbox", CaseRef, Plan)
WAKE = Call("wake", CaseRef, Plan)
PERFORM_STEP = Call("perform_step", StepRef, Plan)
BLOCK_CASE = Call("block_case", BlockInput, Plan)
BEGIN_RUN = Call("begin_run", StepRef, RunStart)
CALL_MODEL = Call("call_model", ModelCall, Turn)
CALL_TOOL = Call("call_tool", ToolCall, bool)
END_RUN = Call("end_run", RunEnd, Plan)
PLAN_RERUN = Call("plan_rerun", RerunRef, RerunPlan)
RERUN_CALL = Call("rerun_call", RerunRef, str)
END_RERUN = Call("end_rerun", RerunEnd, str)

ALL_CALLS: tuple[Call[BaseModel, object], ...] = (
    LOAD_CASE,
    DRAIN_INBOX,
    WAKE,
    PERFORM_STEP,
    BLOCK_CASE,
    BEGIN_RUN,
    CALL_MODEL,
    CALL_TOOL,
    END_RUN,
    PLAN_RERUN,
    RERUN_CALL,
    END_RERUN,
)  # type: ignore[assignment]

# Five times what lies between two signs of life.
BEATS = timedelta(seconds=10)

_TRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=20), maximum_attempts=30
)


async def local(call: Call[In, Out], given: In) -> Out:
    """Short, keyed work on our own tables: idempotent, so a local activity may do it."""
    return await workflow.execute_local_activity(
        call.name, given, result_type=call.gives, start_to_close_timeout=timedelta(seconds=30), retry_policy=_TRIES
    )


async def remote(call: Call[In, Out], given: In, *, within: timedelta = timedelta(minutes=2)) -> Out:
    """Work on the case's own queue: may take longer (setting a letter), keyed by step and visit.

    It gives signs of life (activities/heartbeat.py); without one for `BEATS` its worker counts as dead.
    """
    return await workflow.execute_activity(
        call.name,
        given,
        result_type=call.gives,
        start_to_close_timeout=within,
        heartbeat_timeout=BEATS,
        retry_policy=_TRIES,
    )
