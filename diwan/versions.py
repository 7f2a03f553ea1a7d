"""Versions of the case worker: which build this is, whether the server routes by it, which build cases are routed to.

Where the server has worker deployments, it hands the tasks of cases to the *current* version of deployment `diwan`
and to nobody else. Until one is current they go nowhere, and so does what is handed to a version whose workers are
gone: hence `make_current`, which takes over from nobody that lives unless it is told to. docs/adr/0014 says why.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import structlog
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeWorkerDeploymentRequest,
    ListWorkerDeploymentsRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

import agents
import diwan
import diwan.domain
import diwan.procedures
import diwan.temporal
import workflows
from diwan.domain.errors import Conflict, Unavailable
from diwan.temporal import CASE_QUEUE

log = structlog.get_logger()

DEPLOYMENT = "diwan"
UNVERSIONED = ""

# A poller asks again at least once a minute; the server lists it for five more.
_POLLS_WITHIN = timedelta(seconds=90)
_ASK_AGAIN_S = 2.0
_LACKING = frozenset(
    {
        *(RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.INVALID_ARGUMENT),
        RPCStatusCode.PERMISSION_DENIED,
    }
)


@cache
def build_id() -> str:
    """Diwan's version and a digest of all code that a history is replayed through."""
    digest = hashlib.sha256()
    root = Path(diwan.__file__).parent.parent
    for path in replayed():
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{diwan.__version__}-{digest.hexdigest()[:12]}"


def replayed() -> list[Path]:
    """The files that a workflow's code is in, or imports."""
    found: list[Path] = []
    for module in (workflows, agents, diwan.domain, diwan.procedures, diwan.temporal):
        file = Path(str(module.__file__))
        found += sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    return found


def deployment(build: str) -> WorkerDeploymentConfig:
    """Cases and agent runs move on to the current version with their next task: no version is ever waited for."""
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(DEPLOYMENT, build),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


async def is_supported(client: Client) -> bool:
    """Whether the server has worker deployments. Raises `Unavailable` where it does not answer."""
    try:
        await client.workflow_service.list_worker_deployments(
            ListWorkerDeploymentsRequest(namespace=client.namespace, page_size=1)
        )
    except RPCError as error:
        if error.status in _LACKING:
            return False
        raise Unavailable("temporal.unavailable", "Temporal does not answer.", "Wait for it.") from error
    return True


async def current(client: Client) -> str:
    """The build that is current; UNVERSIONED where none is. Raises `Unavailable`."""
    try:
        told = await client.workflow_service.describe_worker_deployment(
            DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=DEPLOYMENT)
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return UNVERSIONED
        raise Unavailable("temporal.unavailable", "Temporal could not do this now.", "Try again.") from error
    return told.worker_deployment_info.routing_config.current_deployment_version.build_id


async def promote(client: Client, build: str, *, alone: bool = False) -> str:
    """Makes a build current and gives the one that was.

    `alone`: also where it polls fewer queues than the one before. Raises `Conflict` where no worker of this build
    polls, `Unavailable` where Temporal does not answer.
    """
    try:
        answer = await client.workflow_service.set_worker_deployment_current_version(
            SetWorkerDeploymentCurrentVersionRequest(
                namespace=client.namespace,
                deployment_name=DEPLOYMENT,
                build_id=build,
                ignore_missing_task_queues=alone,
                identity="diwan",
            )
        )
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION):
            raise Conflict(
                "worker.version_absent", f"No worker of version {build} polls yet.", "Start one, then promote it."
            ) from error
        raise Unavailable("temporal.unavailable", "Temporal could not do this now.", "Try again.") from error
    return answer.previous_deployment_version.build_id


async def make_current(client: Client, build: str, *, alone: bool) -> None:
    """Makes this worker's build current as soon as that takes cases from nobody: there is no current version, or none
    of its workers polls any more, or this one is known to be `alone`. Meanwhile its worker gets no cases.
    """
    told = ""
    while True:
        try:
            now = await current(client)
            if now == build:
                return
            if alone or now == UNVERSIONED or not await _polls(client, now):
                before = await promote(client, build, alone=alone)
                log.info("worker.version_current", version=build, before=before)
                return
            if told != now:
                log.warning("worker.version_waits", version=build, current=now)
                told = now
        except (Conflict, Unavailable, RPCError) as error:
            log.debug("worker.version_not_current_yet", error=type(error).__name__)
        await asyncio.sleep(_ASK_AGAIN_S)


async def leave_versions(client: Client) -> None:
    """For a worker that has no version: cases go to such workers again. Raises `Unavailable`."""
    if await is_supported(client) and await current(client) != UNVERSIONED:
        before = await promote(client, UNVERSIONED, alone=True)
        log.warning("worker.versioning_off", before=before)


async def _polls(client: Client, build: str) -> bool:
    """Whether a worker of this build has asked for cases lately."""
    told = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=CASE_QUEUE),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    now = datetime.now(UTC)
    return any(
        poller.deployment_options.build_id == build and now - poller.last_access_time.ToDatetime(UTC) < _POLLS_WITHIN
        for poller in told.pollers
    )
