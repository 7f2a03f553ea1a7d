"""Worker versions: cases go to the current one, open ones move on, and nobody's cases are taken unasked.

On a server of its own: what is current is the whole namespace's.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from agents.loop import Turn, TurnKind
from diwan import versions
from diwan.domain.case import StepKind
from diwan.domain.errors import Conflict
from diwan.embedded.temporal import EmbeddedTemporal
from diwan.temporal import connect
from diwan.versions import UNVERSIONED, build_id, current, leave_versions, make_current, promote
from tests.scenario.conftest import short_folder
from tests.workflows.conftest import Desk, plan, started, workers

REVIEW = plan("review", StepKind.TASK)
WITHIN_S = 120.0


@pytest.fixture
async def apart() -> AsyncGenerator[EmbeddedTemporal]:
    folder = short_folder()
    made = EmbeddedTemporal(folder)
    await made.start()
    yield made
    made.stop()
    shutil.rmtree(folder)


@asynccontextmanager
async def worker(server: EmbeddedTemporal, desk: Desk, build: str, *, alone: bool = True) -> AsyncGenerator[Client]:
    """A worker of that build, as `diwan worker` runs it."""
    client = await connect(server.address, server.namespace)
    async with workers(client, desk, build=build):
        making = asyncio.create_task(make_current(client, build, alone=alone)) if build else None
        yield client
        if making:
            making.cancel()


async def heard(handle: WorkflowHandle[Any, Any], desk: Desk) -> None:
    """Rings, and returns when the inbox was looked into."""
    before = desk.log.count("drain_inbox")
    await handle.signal("ring")
    async with asyncio.timeout(WITHIN_S):
        while True:
            if desk.log.count("drain_inbox") > before:
                return
            await asyncio.sleep(0.1)


async def version_of(client: Client, handle: WorkflowHandle[Any, Any]) -> str:
    info = (await client.get_workflow_handle(handle.id).describe()).raw_description.workflow_execution_info
    return info.versioning_info.deployment_version.build_id


async def test_open_cases_move_from_version_to_version(apart: EmbeddedTemporal, desk: Desk) -> None:
    desk.plans = [REVIEW]
    # Begun by a release that knew no versions, on a server where none is current.
    async with worker(apart, desk, "") as client:
        handle = await started(client, rung=True)
        await heard(handle, desk)
    # Upgraded in place, twice: the worker before is gone, and nobody has said what is current.
    for build in ("1", "2"):
        async with worker(apart, desk, build) as client:
            run = (await client.get_workflow_handle(handle.id).describe()).run_id
            handle = client.get_workflow_handle(handle.id)
            await heard(handle, desk)
            # Carried on by this version, and begun anew, so that no code has to read what another recorded.
            async with asyncio.timeout(WITHIN_S):
                while True:
                    here = await version_of(client, handle)
                    if here == build and (await handle.describe()).run_id != run:
                        break
                    await asyncio.sleep(0.1)
    # An agent run of a versioned case, its calls carried out by a pool worker that has no version.
    desk.plans = [plan("examine", StepKind.AGENT), plan("closed", StepKind.END)]
    desk.answers = [Turn(kind=TurnKind.ANSWER, final=False), Turn(kind=TurnKind.ANSWER, final=True)]
    async with worker(apart, desk, "3") as client:
        agents_case = await started(client)
        await asyncio.wait_for(agents_case.result(), WITHIN_S)
        assert await version_of(client, agents_case) == "3"
    # Versioning switched off again.
    desk.plans = [REVIEW]
    async with worker(apart, desk, "") as client:
        await leave_versions(client)
        assert await current(client) == UNVERSIONED
        await heard(client.get_workflow_handle(handle.id), desk)


async def test_a_version_takes_cases_from_nobody_that_lives(
    apart: EmbeddedTemporal, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.plans = [REVIEW]
    async with worker(apart, desk, "1", alone=False) as first:
        handle = await started(first, rung=True)
        await heard(handle, desk)  # nothing was current, so it took the cases
        async with worker(apart, Desk(), "2", alone=False) as second:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(make_current(second, "2", alone=False), 5)
            assert await current(second) == "1"
            # Told to, it does (`diwan worker --promote`).
            assert await promote(second, "2") == "1"
            assert await current(second) == "2"
        # The new one's workers are gone: what lives takes the cases back.
        monkeypatch.setattr(versions, "_POLLS_WITHIN", timedelta(0))
        await asyncio.wait_for(make_current(first, "1", alone=False), WITHIN_S)
        await heard(first.get_workflow_handle(handle.id), desk)


async def promoted(server: EmbeddedTemporal, home: Path) -> tuple[int | None, str]:
    """`diwan worker --promote`, as it is typed: its exit code and what it says."""
    told = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DIWAN_")},
        **{"DIWAN_HOME": str(home), "DIWAN_TEMPORAL_ADDRESS": server.address},
        "DIWAN_TEMPORAL_NAMESPACE": server.namespace,
    }
    command = (sys.executable, "-m", "diwan.cli.main", "worker", "--promote")
    process = await asyncio.create_subprocess_exec(*command, env=told, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    return process.returncode, said.decode()


async def test_who_types_it_makes_this_code_current(apart: EmbeddedTemporal, desk: Desk, tmp_path: Path) -> None:
    desk.plans = [REVIEW]
    code, said = await promoted(apart, tmp_path)
    assert code == Conflict.exit_code
    assert f"No worker of version {build_id()} polls yet." in said
    async with worker(apart, desk, "1") as client:
        handle = await started(client, rung=True)
        await heard(handle, desk)
        new = Desk()
        new.plans = [REVIEW]
        async with worker(apart, new, build_id(), alone=False) as second:
            async with asyncio.timeout(WITHIN_S):
                while code == Conflict.exit_code:  # until it has polled for the first time
                    code, said = await promoted(apart, tmp_path)
            assert code == 0, said
            assert f"{build_id()} gets the cases now; before it was 1" in said
            assert await current(second) == build_id()
            await heard(second.get_workflow_handle(handle.id), new)


async def test_a_version_without_workers_is_not_made_current(apart: EmbeddedTemporal) -> None:
    client = await connect(apart.address, apart.namespace)
    with pytest.raises(Conflict):
        await promote(client, "nobody")
    assert await current(client) == UNVERSIONED


def test_a_build_is_the_code_that_histories_are_replayed_through() -> None:
    assert build_id() == build_id.__wrapped__()
    release, _, digest = build_id().rpartition("-")
    assert release == versions.diwan.__version__
    assert len(digest) == 12
    code = {str(path) for path in versions.replayed()}
    imported = json.loads(subprocess.run([sys.executable, "-c", _IMPORTED], capture_output=True, check=True).stdout)
    assert any(each.endswith("workflows/case.py") for each in imported)
    assert set(imported) - code == {str(versions.diwan.__file__)}, "which only says the release"


# What a process has loaded of ours that has imported every workflow and nothing else.
_IMPORTED = """
import importlib, json, pkgutil, sys, workflows
for each in pkgutil.iter_modules(workflows.__path__):
    importlib.import_module(f"workflows.{each.name}")
ours = ("workflows", "agents", "activities", "diwan")
print(json.dumps([m.__file__ for name, m in sys.modules.items() if name.partition(".")[0] in ours]))
"""
