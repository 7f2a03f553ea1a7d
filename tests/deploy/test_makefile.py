"""The Makefile: it explains itself, CI runs the same, and it knows no host to fetch from."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def _make(*arguments: str) -> str:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_make_alone_lists_every_target_that_is_meant_for_people() -> None:
    told = _make()
    for target in ("setup", "demo", "up", "test", "check", "lock", "clean"):
        assert re.search(rf"^  make {target} +\S", told, re.MULTILINE), target


def test_ci_runs_make_check_which_runs_the_tests() -> None:
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make check")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    planned = _make("--dry-run", "check")
    for command in ("ruff check", "ruff format --check", "pyright", "lint-imports", "pytest"):
        assert f".venv/bin/{command}" in planned, command
    # What plain pytest leaves out is run too: a year on the server that skips time, faults, a real vLLM.
    for part in ("tests/legal_time", "tests.faults", "tests/vllm"):
        assert part in planned, part


def test_each_part_of_the_check_has_its_minutes() -> None:
    (check,) = re.findall(r"^check: (.*?) ##", MAKEFILE, re.M)
    told = _make()
    for part in (*check.split(), "check"):
        assert re.search(rf"^  make {part} .*\d+ min", told, re.MULTILINE), part


def test_what_is_installed_is_pinned_by_hash() -> None:
    installs = [line for line in MAKEFILE.splitlines() if re.search(r"pip install|pip sync", line)]
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    for name in ("uv", "dev", "run", "go"):
        pins = re.findall(
            r"^[\w.-]+(?:\[[\w,-]+\])?==\S+.*$", (ROOT / "requirements" / f"{name}.txt").read_text(), re.M
        )
        assert pins, name


def test_no_host_is_named() -> None:
    assert "://" not in MAKEFILE
    assert not [path for path in (ROOT / "requirements").iterdir() if "://" in path.read_text()]
