"""The embedded Temporal: priority is honoured, closed runs are kept, a kill loses nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.common import Priority
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from diwan.domain.errors import Conflict
from diwan.embedded import temporal_program
from diwan.embedded.temporal import EmbeddedTemporal
from tests.embedded.conftest import short_folder

ORDER: list[str] = []


@activity.defn
async def note(name: str) -> None:
    ORDER.append(name)


@workflow.defn
class Noting:
    """Notes its own name through an activity of the priority that it has itself."""

    @workflow.run
    async def run(self, name: str) -> None:
        await workflow.execute_activity(note, name, start_to_close_timeout=timedelta(seconds=10))


@pytest.fixture(scope="module")
async def server() -> AsyncGenerator[EmbeddedTemporal]:
    folder = short_folder()
    made = EmbeddedTemporal(folder / "temporal")
    await made.start()
    yield made
    made.stop()
    shutil.rmtree(folder)


async def _client(server: EmbeddedTemporal) -> Client:
    return await Client.connect(server.address, namespace=server.namespace)


async def test_urgent_work_overtakes_a_backlog(server: EmbeddedTemporal) -> None:
    """Without its flags this server takes priorities and ignores them."""
    client = await _client(server)
    ORDER.clear()
    routine = [f"routine-{number}" for number in range(12)]
    for name, key in [*((name, 5) for name in routine), ("urgent", 1)]:
        await client.start_workflow(Noting.run, name, id=name, task_queue="noting", priority=Priority(priority_key=key))
    async with Worker(
        client,
        task_queue="noting",
        workflows=[Noting],
        activities=[note],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_workflow_tasks=1,
        max_cached_workflows=0,
        max_concurrent_activities=1,
    ):
        for name in [*routine, "urgent"]:
            await client.get_workflow_handle(name).result()
    assert ORDER.index("urgent") <= 2, ORDER


async def test_closed_runs_are_kept_for_a_month(server: EmbeddedTemporal) -> None:
    client = await _client(server)
    answer = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=server.namespace))
    assert answer.config.workflow_execution_retention_ttl.ToTimedelta() == timedelta(days=30)


async def test_a_kill_loses_nothing(server: EmbeddedTemporal) -> None:
    client = await _client(server)
    await client.start_workflow(Noting.run, "kept", id="kept", task_queue="nobody-polls", start_signal="ring")
    server.kill()
    await server.start()
    events = (await (await _client(server)).get_workflow_handle("kept").fetch_history()).events
    assert [event for event in events if event.HasField("workflow_execution_signaled_event_attributes")]


async def test_its_files_are_private(server: EmbeddedTemporal) -> None:
    assert server.folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in server.folder.iterdir())


async def test_a_taken_port_says_by_whom(server: EmbeddedTemporal, folder: Path) -> None:
    with pytest.raises(Conflict, match=f"Port {server.port} on 127.0.0.1 is taken by temporal"):
        await EmbeddedTemporal(folder / "temporal", port=server.port).start()


# --- the program itself --------------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty PATH and an empty cache; the folder of its PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(temporal_program, "_DOWNLOAD", "raise SystemExit(1)")
    return programs


def _program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_one_on_the_path_comes_first(bare: Path) -> None:
    _program(bare / "temporal", "echo")
    assert temporal_program.provide(lambda line: None) == bare / "temporal"


def test_without_download_and_go_it_says_that_go_is_missing(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(temporal_program.GoMissing):
        temporal_program.provide(lambda line: None)
    assert temporal_program.main() == temporal_program.GO_MISSING


def test_a_download_is_kept_in_the_cache(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = "import os, sys; path = sys.argv[1] + '/temporal-cli'; open(path, 'w').close(); os.chmod(path, 0o755)"
    monkeypatch.setattr(temporal_program, "_DOWNLOAD", fetched)
    program = temporal_program.provide(lambda line: None)
    assert program.is_relative_to(temporal_program.cache_dir())
    assert temporal_program.find() == program


def test_a_download_that_stands_still_is_given_up(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporal_program, "_DOWNLOAD", "import time; time.sleep(300)")
    monkeypatch.setattr(temporal_program, "_DOWNLOAD_PATIENCE_S", 0.3)
    with pytest.raises(temporal_program.GoMissing):
        temporal_program.provide(lambda line: None)


def test_go_builds_it_and_says_that_it_is_at_work(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(bare / "go", 'PATH=/usr/bin:/bin; sleep 0.5; echo > "$GOBIN/temporal"; chmod 755 "$GOBIN/temporal"')
    monkeypatch.setattr(temporal_program, "_PROGRESS_EVERY_S", 0.1)
    said: list[str] = []
    program = temporal_program.provide(said.append)
    assert program.parent.name == "temporal-1.5.1"
    assert any("still building" in line for line in said)
    assert [path.name for path in program.parent.iterdir()] == ["temporal"]


def test_a_build_that_fails_says_why_and_leaves_nothing(bare: Path) -> None:
    _program(bare / "go", "echo 'go: no route to the module proxy' >&2; exit 1")
    said: list[str] = []
    with pytest.raises(Exception, match="no route to the module proxy"):
        temporal_program.provide(said.append)
    assert temporal_program.find() is None


def test_the_module_is_quiet_where_it_is_there(bare: Path) -> None:
    _program(bare / "temporal", "echo")
    done = subprocess.run(
        [sys.executable, "-m", "diwan.embedded.temporal_program"],
        capture_output=True,
        check=True,
        env={"PATH": str(bare)},
    )
    assert done.stdout == done.stderr == b""
