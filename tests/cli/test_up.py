"""`diwan up --without`: the models may be left out, what cases rest on may not."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from diwan import telemetry
from diwan.cli import stack_commands
from diwan.cli.main import app
from diwan.embedded.parts import Options


@pytest.mark.parametrize("part", ["postgres", "vault", "worker", "nonsense"])
def test_what_cases_rest_on_cannot_be_left_out(part: str) -> None:
    done = CliRunner().invoke(app, ["up", "--without", part])
    assert done.exit_code == 2
    assert "engine, pool" in done.stderr


def test_the_models_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Options] = []

    async def up(options: Options, _output: object) -> None:
        started.append(options)

    def unconfigured(_process: str, *, level: str) -> None:
        assert level == "warning"

    monkeypatch.setattr(stack_commands, "_up", up)
    # This process is the tests' own: its logging stays as they know it.
    monkeypatch.setattr(telemetry, "configure", unconfigured)
    done = CliRunner().invoke(app, ["up", "--without", "engine", "--without", "pool"])
    assert done.exit_code == 0, done.stderr
    assert started[0].without == {"engine", "pool"}
