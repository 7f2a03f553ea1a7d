"""`diwan up`, whole: ready, healed, refused, resumed, as root and as an ordinary user."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from diwan.embedded import child, doctor
from diwan.embedded.doctor import State
from diwan.embedded.home import started_at
from diwan.embedded.parts import SERVERS, SERVICES
from tests.embedded.conftest import Running, short_folder
from tests.embedded.users import User, myself, ordinary

PARTS = (*SERVERS, *SERVICES)


def test_each_part_is_a_process_of_its_own(running: Running) -> None:
    pids = {name: running.stack.pid(name) for name in PARTS}
    assert None not in pids.values()
    assert len(set(pids.values())) == len(PARTS)
    for name, pid in pids.items():
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        assert name in words or name == Path(words[0]).name, words


async def test_it_answers_and_says_where(running: Running) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{running.stack.urls.web}/readyz")).status_code == 200
        assert (await http.get(f"{running.stack.urls.issuer}/jwks")).status_code == 200
        assert "demo-rules" in (await http.get(f"{running.stack.urls.engine}/v1/models")).text
    told = json.loads((running.stack.home.run / "stack.json").read_text())
    assert told["url"] == running.stack.urls.web


def test_nothing_listens_beyond_this_machine(running: Running) -> None:
    inodes = {
        os.readlink(link)
        for name in PARTS
        for link in Path(f"/proc/{running.stack.pid(name)}/fd").iterdir()
        if link.is_symlink() and os.readlink(link).startswith("socket:")
    }
    lines = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    listening = [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in inodes]
    assert len(listening) >= 5
    assert all(address.startswith("0100007F:") for address in listening), listening


async def test_logs_are_kept_small_while_it_runs(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of them cannot be, its part goes on, and the others' are."""
    children = running.stack._children
    full = children["vault"]

    def rotate() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(full, "rotate", rotate)
    monkeypatch.setattr(child, "LOG_BYTES", 1)
    with children["relay"].log.open("a") as log:
        log.write("one more line\n")
    said = f"the log {full.log} could not be rotated: No space left on device"
    async with asyncio.timeout(120):
        while True:
            kept = "".join(path.read_text() for path in running.stack.home.logs.glob("relay.log.*"))
            if said in running.said and "one more line" in kept:
                break
            await asyncio.sleep(0.1)
    assert running.stack.pid("vault") is not None


def test_no_secret_is_in_arguments_or_variables(running: Running) -> None:
    files = [path for path in running.stack.home.secrets.iterdir() if path.is_file()]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    secrets = [path.read_text().strip().rpartition("@")[0] or path.read_text().strip() for path in files]
    for name in PARTS:
        process = Path(f"/proc/{running.stack.pid(name)}")
        shown = (process / "cmdline").read_text() + (process / "environ").read_text()
        assert not [secret for secret in secrets if secret in shown], name


def test_each_process_gets_the_secrets_of_its_own_role_only(running: Running) -> None:
    for name in SERVICES:
        variables = Path(f"/proc/{running.stack.pid(name)}/environ").read_text().split("\0")
        given = {line.partition("=")[0] for line in variables if "DATABASE_URL" in line}
        assert given == {f"DIWAN_DATABASE_URL_{name.upper()}_FILE"}


@pytest.mark.parametrize("name", PARTS)
async def test_what_dies_comes_back(running: Running, name: str) -> None:
    stack = running.stack
    pid = stack.pid(name)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await stack.wait_restarted(name, pid, within_s=90)
    await stack.wait_ready("web", within_s=90)
    assert any(f"{name} ended (signal SIGKILL); starting it again" in line for line in running.said)


def test_each_part_has_a_private_log(running: Running) -> None:
    logs = {path.stem: path for path in running.stack.home.logs.glob("*.log")}
    assert set(logs) == set(PARTS)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in logs.values())


async def test_the_doctor_finds_what_does_not_answer(running: Running) -> None:
    stack = running.stack
    findings = await doctor.examine(stack.options)
    assert not [found for found in findings if found.state is State.WRONG]
    await stack.stop_part("engine")
    try:
        wrong = [found for found in await doctor.examine(stack.options) if found.state is State.WRONG]
        assert [(found.what, found.detail) for found in wrong] == [("engine", "does not answer")]
        assert wrong[0].remedy.endswith("engine.log")
    finally:
        await stack.start_part("engine")


def test_a_second_up_on_the_same_data_is_refused(running: Running) -> None:
    home = str(running.stack.home.path)
    refused = myself().run("up", home=home, port="0")
    assert refused.returncode == 5
    assert f"A stack already runs on {home} (pid {os.getpid()})" in refused.stderr
    assert "DIWAN_HOME" in refused.stderr
    assert all(running.stack.pid(name) for name in PARTS)


def test_a_taken_port_is_refused_before_anything_starts(running: Running, folder: Path) -> None:
    port = running.stack.urls.web.rpartition(":")[2]
    refused = myself().run("up", home=str(folder / "home"), port=port)
    assert refused.returncode == 5
    assert f"Port {port} on 127.0.0.1 is taken by" in refused.stderr
    assert f"pid {running.stack.pid('web')}" in refused.stderr
    assert "DIWAN_PORT" in refused.stderr
    assert not list((folder / "home" / "logs").iterdir())


# --- as somebody types it ------------------------------------------------------------------------------------------


class Up:
    """A running `diwan up` of an ordinary user."""

    def __init__(self, user: User, home: Path) -> None:
        self.home = home
        self.process = user.start("up", "--output", "json", home=str(home), port="0")

    def addresses(self) -> dict[str, Any]:
        """What it prints when it is ready; fails with what it said when it does not get there."""
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if line == "}\n":
                return json.loads("".join(lines))
        assert self.process.stderr is not None
        raise AssertionError(self.process.stderr.read())

    def children(self) -> list[int]:
        recorded = json.loads((self.home / "run" / "processes.json").read_text())
        return [child["pid"] for child in recorded["children"]]

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Exit code and what it said on standard error."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.fixture
def user() -> Generator[tuple[User, Path]]:
    folder = short_folder()
    yield ordinary(folder), folder / "home"
    shutil.rmtree(folder)


def test_an_ordinary_user_starts_kills_resumes_and_stops_it(user: tuple[User, Path]) -> None:
    who, home = user
    first = Up(who, home)
    addresses = first.addresses()
    children = first.children()
    assert len(children) == len(PARTS)
    uid = home.stat().st_uid
    assert uid != 0
    assert {Path(f"/proc/{pid}").stat().st_uid for pid in children} == {uid}
    assert home.stat().st_mode & 0o077 == 0
    with httpx.Client(trust_env=False) as http:
        assert http.get(f"{addresses['url']}/readyz").status_code == 200

    code, _ = first.end(signal.SIGKILL)
    assert code == -signal.SIGKILL

    second = Up(who, home)
    assert second.addresses() == addresses  # the same ports, so tokens and bookmarks go on
    assert not set(children) & set(second.children())
    assert [pid for pid in children if started_at(pid) is not None] == []
    token = who.run("token", "--as", "clerk", home=str(home))
    assert token.returncode == 0, token.stderr
    with httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {token.stdout.strip()}"}) as http:
        listed = http.get(f"{addresses['url']}/v1/procedures")
    assert "direct-housing-aid" in listed.text

    children = second.children()
    code, said = second.end(signal.SIGINT)
    assert code == 0, said
    assert "ended without stopping" in said
    assert "stopped" in said
    assert [pid for pid in children if started_at(pid) is not None] == []
    assert not (home / "run" / "stack.json").exists()


def test_interrupted_while_starting_it_leaves_nothing(user: tuple[User, Path]) -> None:
    who, home = user
    up = Up(who, home)
    assert up.process.stderr is not None
    assert up.process.stderr.readline().startswith("starting on")
    code, said = up.end(signal.SIGTERM)
    assert code == 0, said
    assert [process for process in _processes() if str(home) in process] == []


def _processes() -> list[str]:
    """Command lines of all processes."""
    found: list[str] = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                found.append((process / "cmdline").read_text(errors="replace"))
    return found
