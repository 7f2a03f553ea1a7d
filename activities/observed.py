"""What is seen of every activity: its span in the case's tree, figures, and log lines that name case and trace.

Own instead of temporalio's contrib interceptor, which puts the text of exceptions on spans and holds the spans of
workflows back until those end, months later (docs/adr/0016-tracing.md).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from diwan import metrics
from diwan.domain.errors import DiwanError
from diwan.store.traces import CaseTraces
from diwan.tracing import names, spans
from diwan.tracing.names import Value

log = structlog.get_logger()

# What the inputs of calls (workflows/calls.py) say, as attributes.
_SAID = {
    **{"tenant": names.TENANT, "case": names.CASE, "step": names.STEP, "visit": names.VISIT, "spec": names.SPEC},
    **{"call": names.CALL, "position": names.POSITION, "tool": names.TOOL},
}


class Observed(Interceptor):
    """For the workers of one process."""

    def __init__(self, traces: CaseTraces) -> None:
        self._traces = traces

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Observed(next, self._traces)


class _Observed(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, traces: CaseTraces) -> None:
        super().__init__(next)
        self._traces = traces

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info, given = activity.info(), input.args[0]
        began, name = time.monotonic(), info.activity_type
        with bound_contextvars(tenant=given.tenant, case=given.case):
            if info.attempt > 1:
                metrics.ACTIVITY_RETRIES.add(1, name)
            outcome = "failed"
            try:
                result = await self._traced(input, given, info)
                outcome = "ok"
                return result
            except asyncio.CancelledError:
                outcome = "cancelled"
                raise
            except Exception as error:
                code = spans.code_of(error)
                metrics.ACTIVITY_FAILURES.add(1, name, code)
                log.warning("activity.failed", activity=name, attempt=info.attempt, code=code)
                raise
            finally:
                metrics.ACTIVITIES.add(1, name, outcome)
                metrics.ACTIVITY_SECONDS.observe(time.monotonic() - began, name)

    async def _traced(self, input: ExecuteActivityInput, given: Any, info: activity.Info) -> Any:
        if not spans.on():
            return await self.next.execute_activity(input)
        said: dict[str, Value] = {
            attribute: value for field, attribute in _SAID.items() if (value := getattr(given, field, None)) is not None
        }
        said |= {names.ATTEMPT: info.attempt, names.WORKFLOW_RUN: info.workflow_run_id or ""}
        try:
            of = await self._traces.of(given.tenant, given.case)
        except DiwanError:
            # Its place cannot be known now; the activity itself will say so, and the next attempt has a span.
            return await self.next.execute_activity(input)
        with spans.span(info.activity_type, spans.CONSUMER, said, of=of):
            return await self.next.execute_activity(input)
