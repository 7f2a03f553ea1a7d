"""`diwan demo` as a stranger runs it: a whole stack of its own, then the same data again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diwan.procedures.examples import example_dossiers
from tests.cli.conftest import ROOT

Json = dict[str, Any]
SAMPLES = [path.name for path in example_dossiers("direct-housing-aid")]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="diwan-", dir="/tmp"))
    folder.chmod(0o711)  # the database's user has to pass
    yield folder / "home"
    shutil.rmtree(folder)


def run_demo(home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIWAN_")}
    environment |= {"DIWAN_HOME": str(home), **variables}
    command = [sys.executable, "-m", "diwan.cli.main", "demo", "--output", "json"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def first(home: Path) -> Json:
    done = run_demo(home, DIWAN_URL="https://somebody-elses.example")
    assert done.returncode == 0, done.stderr
    assert "rules, not a language model" in done.stderr
    return json.loads(done.stdout)


def test_every_sample_comes_out_as_it_should(first: Json) -> None:
    assert [line["name"] for line in first["dossiers"]] == SAMPLES
    assert [line["differences"] for line in first["dossiers"]] == [[]] * len(SAMPLES)
    assert first["ok"]
    assert {line["result"] for line in first["dossiers"]} >= {"granted", "refused", "withdrawn"}
    assert all(line["agent_steps"] > 0 for line in first["dossiers"])


def test_the_ledger_was_recomputed_with_its_sealed_bodies(first: Json) -> None:
    entries = sum(line["entries"] for line in first["dossiers"])
    assert first["ledger"]["first_bad"] is None
    assert first["ledger"]["entries"] >= entries > 100
    assert first["ledger"]["bodies"] > 0


def test_the_letters_lie_where_it_says(first: Json) -> None:
    for line in first["dossiers"]:
        saved = sorted(path.name for path in (Path(first["letters"]) / line["number"]).iterdir())
        assert saved == [f"{place}-{kind}.pdf" for place, kind in enumerate(line["letters"], start=1)]
        assert all((Path(first["letters"]) / line["number"] / name).read_bytes()[:5] == b"%PDF-" for name in saved)


def test_on_the_same_data_who_was_granted_is_refused_as_the_register_says(first: Json, home: Path) -> None:
    done = run_demo(home)
    assert done.returncode == 0, done.stderr
    second = json.loads(done.stdout)
    granted = {line["name"] for line in first["dossiers"] if line["result"] == "granted"}
    assert {line["name"] for line in second["dossiers"] if line["result"] == "granted"} == set()
    assert all(f" {name}" in done.stderr for name in granted)
    assert not {line["number"] for line in first["dossiers"]} & {line["number"] for line in second["dossiers"]}
    assert second["ledger"]["entries"] > first["ledger"]["entries"]
