"""One supervised process: back when it dies, gone when its supervisor does, its log small and private."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from diwan.domain.errors import Final, Unavailable
from diwan.embedded import child as child_module
from diwan.embedded.child import Child, Program
from diwan.embedded.home import started_at

SERVES = "import pathlib, sys, time; print('serving', flush=True); pathlib.Path(sys.argv[1]).touch(); time.sleep(300)"


class Children:
    """Makes children with a sign of life of their own, and stops them after the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.started = asyncio.Event()
        self._made: list[Child] = []

    def make(self, code: str = SERVES, *, stop_within_s: float = 5.0) -> Child:
        sign = self.folder / "sign"

        def command() -> Sequence[str]:
            sign.unlink(missing_ok=True)
            return [sys.executable, "-I", "-S", "-c", code, str(sign)]

        async def ready() -> bool:
            return sign.exists()

        program = Program("part", command, ready, {"PATH": os.defpath}, stop_within_s=stop_within_s)
        made = Child(program, self.folder / "part.log", say=self.said.append, changed=self.started.set)
        self._made.append(made)
        return made

    async def restarted(self, child: Child, pid: int) -> int:
        """The pid of its successor."""
        async with asyncio.timeout(20):
            while True:
                self.started.clear()
                if child.pid is not None and child.pid != pid:
                    return child.pid
                await self.started.wait()

    async def close(self) -> None:
        for made in self._made:
            await made.stop()


@pytest.fixture
async def children(tmp_path: Path) -> AsyncGenerator[Children]:
    made = Children(tmp_path)
    yield made
    await made.close()


async def test_it_comes_back_each_time_it_dies_and_that_is_said(children: Children) -> None:
    child = children.make()
    await child.start(within_s=20)
    for number in (1, 2):
        pid = child.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert await children.restarted(child, pid) != pid
        assert child.restarts == number
    assert len([line for line in children.said if "part ended (signal SIGKILL); starting it again" in line]) == 2


async def test_pauses_grow_while_it_keeps_dying(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    enough = asyncio.Event()

    async def no_sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) >= 5:
            enough.set()
            await asyncio.Event().wait()

    child = children.make()
    await child.start(within_s=20)
    child.program.__dict__["command"] = lambda: ["/bin/false"]
    monkeypatch.setattr(child_module.asyncio, "sleep", no_sleep)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        await enough.wait()
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2]


async def test_stopped_it_stays_stopped(children: Children) -> None:
    child = children.make()
    await child.start(within_s=20)
    pid = child.pid
    await child.stop()
    assert child.pid is None
    assert pid is not None
    assert started_at(pid) is None
    assert children.said == []


async def test_one_that_does_not_stop_is_killed(children: Children) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SERVES
    child = children.make(stubborn, stop_within_s=0.2)
    await child.start(within_s=20)
    await child.stop()
    assert child.pid is None
    assert "did not stop within" in children.said[-1]


async def test_one_that_ends_while_starting_says_why(children: Children) -> None:
    child = children.make("import sys; sys.exit('diwan: no key file [vault.key_file_missing]')")
    with pytest.raises(Final, match=r"part ended while starting \(exit code 1\): no key file"):
        await child.start(within_s=20)


async def test_one_that_never_serves_is_given_up_and_ended(children: Children) -> None:
    child = children.make("import time; time.sleep(300)")
    with pytest.raises(Unavailable, match="was not ready after 0 s"):
        await child.start(within_s=0.2)
    assert child.pid is None


async def test_logs_are_private_and_kept_small(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    child = children.make()
    await child.start(within_s=20)
    assert child.log.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(child_module, "LOG_BYTES", 4)
    for _ in range(child_module.LOG_FILES + 2):
        with child.log.open("a") as log:
            log.write("another line\n")
        child.rotate()
    kept = sorted(path.name for path in children.folder.glob("part.log*"))
    assert kept == ["part.log", "part.log.1", "part.log.2", "part.log.3"]
    assert child.log.stat().st_size == 0
    assert all((children.folder / name).stat().st_mode & 0o077 == 0 for name in kept)


def test_it_ends_with_its_supervisor(tmp_path: Path) -> None:
    """Even when the supervisor is killed and can do nothing about it."""
    supervisor = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, signal, time\n"
            "from pathlib import Path\n"
            "from diwan.embedded import launch\n"
            "child = subprocess.Popen(launch.command(signal.SIGKILL, Path('/bin/sleep'), '300'), stdout=sys.stdout)\n"
            "print(child.pid, flush=True)\n"
            "time.sleep(300)\n",
        ],
        stdout=subprocess.PIPE,
    )
    assert supervisor.stdout is not None
    pid = int(supervisor.stdout.readline())
    assert started_at(pid) is not None
    supervisor.kill()
    supervisor.wait()
    # The pipe that the child holds ends with it.
    ended, _, _ = select.select([supervisor.stdout], [], [], 20)
    assert ended
    assert supervisor.stdout.read() == b""
    supervisor.stdout.close()


async def test_retired_it_may_die(children: Children) -> None:
    child = children.make()
    await child.start(within_s=20)
    await child.retire()
    child.hasten()
    await child.stop()
    assert child.pid is None
    assert child.restarts == 0
