"""The example of a ministry's file can be applied, as it stands, by the command that the page names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.databases import TestDatabase

ROOT = Path(__file__).resolve().parents[2]


def apply(database: TestDatabase, file: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIWAN_")}
    environment["DIWAN_DATABASE_URL_OWNER"] = database.url("diwan_owner")
    command = [sys.executable, "-m", "diwan.cli.main", "tenant", "apply", str(file), "--output", "json"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_example_is_applied_once(database: TestDatabase) -> None:
    for changed in (True, False):
        done = apply(database, ROOT / "deploy" / "ministry.example.yaml")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"tenant": "water", "changed": changed}


def test_a_wrong_file_is_refused_with_its_place(database: TestDatabase, tmp_path: Path) -> None:
    wrong = (ROOT / "deploy" / "ministry.example.yaml").read_text().replace("results: [granted", "results: [perhaps")
    (tmp_path / "wrong.yaml").write_text(wrong)
    done = apply(database, tmp_path / "wrong.yaml")
    assert done.returncode == 2
    assert "delegations.0.results.0" in done.stderr


def test_a_day_both_closed_and_opened_is_refused_by_name(database: TestDatabase, tmp_path: Path) -> None:
    example = (ROOT / "deploy" / "ministry.example.yaml").read_text()
    assert "  opened_days: [2026-12-26]\n" in example
    (tmp_path / "both.yaml").write_text(example.replace("opened_days: [2026-12-26]", "opened_days: [2026-12-24]"))
    done = apply(database, tmp_path / "both.yaml")
    assert done.returncode == 2
    assert "settings: Value error, 2026-12-24 cannot be both closed and opened" in done.stderr


def test_locks_hold_hashes_and_no_address() -> None:
    """docs/adr/0011-locks-without-an-index.md"""
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert {lock.name for lock in locks} >= {"dev.txt", "run.txt", "pool.txt"}
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text, lock.name
        pins = [line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#")]
        assert pins, lock.name
        assert text.count("--hash=sha256:") >= len(pins), lock.name
