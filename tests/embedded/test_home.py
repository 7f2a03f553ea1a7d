"""DIWAN_HOME: one stack at a time, no stranger ended, and every refusal says what to type."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diwan.domain.errors import Conflict, Final
from diwan.embedded import accounts
from diwan.embedded import home as home_module
from diwan.embedded.home import Home, ProcessRecord, end, started_at


@pytest.fixture
def home(folder: Path) -> Generator[Home]:
    made = Home(folder / "home")
    made.open()
    yield made
    made.close()


@pytest.fixture
def sleeper() -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["/bin/sleep", "300"])
    yield process
    process.kill()
    process.wait()


def _record(process: subprocess.Popen[bytes], *, older: int = 0) -> ProcessRecord:
    started = started_at(process.pid)
    assert started is not None
    return ProcessRecord("web", process.pid, started - older, int(signal.SIGTERM))


def test_what_it_holds_is_closed_to_others(home: Home) -> None:
    home.write_secret("token", "s3cret")
    home.write("stack.json", {"url": "x"})
    for inside in (home.secrets, home.logs, home.run):
        assert inside.stat().st_mode & 0o777 == 0o700
    assert (home.secrets / "token").stat().st_mode & 0o777 == 0o600
    assert home.path.stat().st_mode & 0o066 == 0  # nobody lists it


def test_a_second_stack_is_refused_and_told_who_holds_it(home: Home) -> None:
    with pytest.raises(Conflict) as raised:
        Home(home.path).open()
    assert f"already runs on {home.path} (pid {os.getpid()})" in raised.value.message
    assert "DIWAN_HOME" in raised.value.remedy


def test_a_lock_left_by_a_dead_run_is_taken_over(home: Home) -> None:
    assert Home(home.path).path == home.path
    home.close()
    (home.path / "lock").write_text("999999\n")
    assert home.open() == 999999
    home.close()
    assert home.open() is None  # the last run ended well


def test_a_child_of_a_dead_run_is_found_and_ended(home: Home, sleeper: subprocess.Popen[bytes]) -> None:
    home.record([_record(sleeper)])
    orphans = Home(home.path).orphans()
    assert [orphan.pid for orphan in orphans] == [sleeper.pid]
    end(orphans)
    assert sleeper.wait(5) == -signal.SIGTERM


def test_one_that_does_not_listen_is_killed(home: Home) -> None:
    stubborn = subprocess.Popen(
        ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 300; done"], stdout=subprocess.PIPE
    )
    assert stubborn.stdout is not None
    stubborn.stdout.readline()
    end([_record(stubborn)], within_s=0.2)
    assert stubborn.wait(5) == -signal.SIGKILL
    stubborn.stdout.close()


def test_a_stranger_with_a_recorded_pid_is_left_alone(home: Home, sleeper: subprocess.Popen[bytes]) -> None:
    home.record([_record(sleeper, older=1)])
    assert home.orphans() == []


def test_pids_of_another_boot_mean_nothing(
    home: Home, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_module, "_boot_id", lambda: "another")
    home.record([_record(sleeper)])
    monkeypatch.undo()
    assert home.orphans() == []


def test_a_home_of_another_user_is_refused(folder: Path) -> None:
    other = folder / "home"
    if os.geteuid() == 0:
        other.mkdir()
        os.chown(other, 65534, 65534)
    else:
        other = Path("/")
    with pytest.raises(Final) as raised:
        Home(other).open()
    assert raised.value.code == "home.wrong_owner"
    assert "belongs to" in raised.value.message


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_home_that_others_may_write_to_is_refused(folder: Path, mode: int) -> None:
    """They could put their own folder in the place of ours."""
    (folder / "home").mkdir()
    (folder / "home").chmod(mode)
    with pytest.raises(Final) as raised:
        Home(folder / "home").open()
    assert raised.value.code == "home.writable_by_others"
    assert f"chmod go-w {folder / 'home'}" in raised.value.remedy


@pytest.mark.parametrize("inside", ["secrets", "logs", "run"])
def test_a_folder_of_another_user_inside_is_refused(home: Home, inside: str) -> None:
    home.close()
    if os.geteuid() == 0:
        os.chown(home.path / inside, 65534, 65534)
    with pytest.raises(Final) as raised:  # who cannot give a folder away meets one of root's
        Home(home.path).open() if os.geteuid() == 0 else accounts.make_private(Path("/"), None)
    assert raised.value.code == "home.wrong_owner"


@pytest.mark.parametrize("inside", ["secrets", "logs", "run"])
def test_a_link_inside_is_refused_and_what_it_names_left_alone(home: Home, folder: Path, inside: str) -> None:
    home.close()
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (home.path / inside).rmdir()
    (home.path / inside).symlink_to(elsewhere)
    with pytest.raises(Final, match="is not a folder"):
        Home(home.path).open()
    assert elsewhere.stat().st_mode & 0o777 == 0o755


def test_a_folder_exchanged_for_a_link_after_the_look_is_not_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the database's user could do, in a folder of its own, to a supervisor that is root."""
    mine, moved, elsewhere = folder / "mine", folder / "moved", folder / "elsewhere"
    mine.mkdir(mode=0o755)
    elsewhere.mkdir(mode=0o755)

    def exchanging(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def looked(*args: Any, **options: Any) -> os.stat_result:
            seen = look(*args, **options)
            if options.get("follow_symlinks") is not True and stat.S_ISDIR(seen.st_mode) and not moved.exists():
                mine.rename(moved)
                mine.symlink_to(elsewhere)
            return seen

        return looked

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", exchanging(os.fstat))
        patched.setattr(accounts.Path, "lstat", exchanging(Path.lstat))
        accounts.make_private(mine, None)
    assert mine.is_symlink()
    assert elsewhere.stat().st_mode & 0o777 == 0o755
    assert moved.stat().st_mode & 0o777 == 0o700


def test_a_file_in_its_place_is_refused(folder: Path) -> None:
    (folder / "home").write_text("")
    with pytest.raises(Final, match="is not a folder"):
        Home(folder / "home").open()


def test_a_home_that_cannot_be_made_says_so() -> None:
    with pytest.raises(Final) as raised:
        Home(Path("/proc/diwan")).open()
    assert raised.value.code == "home.unusable"
    assert "DIWAN_HOME" in raised.value.remedy


def test_a_nearly_full_disk_is_refused_before_anything_starts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nearly_full(_path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=20 * 2**20)

    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    with pytest.raises(Final) as raised:
        Home(folder / "home").open()
    assert raised.value.code == "disk.full"
    assert "Only 20 MB are free" in raised.value.message
    assert not (folder / "home" / "lock").exists()
