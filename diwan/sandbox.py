"""The sandbox of Temporal's SDK without what it does for nothing.

The SDK enters the sandbox for every payload that comes or goes, to ask whose it is, because a converter or an external
storage might want to know; ours do not. And it compiles the same few lines of Python each time. Together that was a
seventh of the case worker's time. What is run, and what is forbidden in it, is the SDK's own, unchanged.
"""

from __future__ import annotations

from functools import lru_cache
from types import CodeType
from typing import Any, cast

from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox._runner import _Instance  # pyright: ignore[reportPrivateUsage]


class LeanSandbox(SandboxedWorkflowRunner):
    """For a data converter that takes no context (diwan/temporal.py) and no external storage."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """As the SDK's."""
        return _LeanInstance(det, self.runner_class, self.restrictions)


class _LeanInstance(_Instance):
    def get_serialization_context(self, command_info: object) -> SerializationContext | None:
        """None: nobody asks."""
        return None

    def get_external_store_context(self, command_info: object) -> StorageDriverStoreContext:
        """Of no workflow: there is no external storage."""
        return StorageDriverStoreContext(target=None)

    def _run_code(self, code: str, **extra_globals: Any) -> None:
        # `exec` takes what is compiled as well.
        super()._run_code(cast("str", _compiled(code)), **extra_globals)


@lru_cache(maxsize=64)
def _compiled(code: str) -> CodeType:
    return compile(code, "workflow_sandbox.py", "exec")
