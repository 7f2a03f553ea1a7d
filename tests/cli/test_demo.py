"""`diwan demo` as a stranger runs it: a whole stack of its own, and once more."""

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
    assert first["ledger"]["placed"] == first["ledger"]["entries"]
    assert (first["ledger"]["waiting"], first["ledger"]["signed"]) == (0, first["ledger"]["leaves"])


def test_the_letters_lie_where_it_says(first: Json) -> None:
    for line in first["dossiers"]:
        saved = sorted(path.name for path in (Path(first["letters"]) / line["number"]).iterdir())
        assert saved == [f"{place}-{kind}.pdf" for place, kind in enumerate(line["letters"], start=1)]
        assert all((Path(first["letters"]) / line["number"] / name).read_bytes()[:5] == b"%PDF-" for name in saved)


def test_a_second_demo_comes_out_like_the_first_and_touches_nothing_else(first: Json, home: Path) -> None:
    beside = home / "kept"
    beside.write_text("not the demo's")
    done = run_demo(home)
    assert done.returncode == 0, done.stderr
    second = json.loads(done.stdout)
    results = [[(line["name"], line["result"], line["amount"]) for line in run["dossiers"]] for run in (first, second)]
    assert results[0] == results[1]
    assert beside.read_text() == "not the demo's"


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "demo" / "file"
    theirs.parent.mkdir()
    theirs.write_text("theirs")
    done = run_demo(tmp_path)
    assert done.returncode == 5
    assert "was not made by a demo" in done.stderr
    assert theirs.read_text() == "theirs"
