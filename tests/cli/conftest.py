from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from diwan.cli.main import app
from tests.cli.fake_service import FakeService, serving

ROOT = Path(__file__).resolve().parents[2]
Diwan = Callable[..., Result]
DiwanProcess = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def fake() -> Iterator[FakeService]:
    with serving(FakeService()) as service:
        yield service


@pytest.fixture
def diwan(fake: FakeService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Diwan:
    """Runs a command in this process against the fake service, with a token of its own."""
    monkeypatch.setenv("DIWAN_URL", fake.url)
    monkeypatch.setenv("DIWAN_TOKEN", "a-token")
    monkeypatch.setenv("DIWAN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DIWAN_TOKEN_FILE", raising=False)
    monkeypatch.setattr("diwan.cli.client.PAUSES", (0.0, 0.0, 0.0))

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, arguments, prog_name="diwan", input=stdin)

    return invoke


@pytest.fixture
def diwan_process(fake: FakeService, tmp_path: Path) -> DiwanProcess:
    """Runs a command as a process of its own, against the fake service."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIWAN_")}
    environment |= {"DIWAN_URL": fake.url, "DIWAN_TOKEN": "a-token", "DIWAN_HOME": str(tmp_path / "home")}

    def invoke(*arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "diwan.cli.main", *arguments],
            cwd=ROOT,
            env=environment | changed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return invoke
