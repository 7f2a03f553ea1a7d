"""`diwan up`: models may be left out or be one's own; what cases rest on may be neither."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from diwan import telemetry
from diwan.cli import stack_commands
from diwan.cli.main import app
from diwan.embedded.demo_registry import demo_registry
from diwan.embedded.parts import Options
from diwan.pool.registry import Registry
from diwan.settings import Settings


@pytest.mark.parametrize("part", ["postgres", "vault", "worker", "nonsense"])
def test_what_cases_rest_on_cannot_be_left_out(part: str) -> None:
    done = CliRunner().invoke(app, ["up", "--without", part])
    assert done.exit_code == 2
    assert "engine, pool" in done.stderr


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Options]:
    """What would have been started; of the machine's own settings nothing counts."""
    options: list[Options] = []
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DIWAN_{name.upper()}", raising=False)
    monkeypatch.setenv("DIWAN_HOME", str(tmp_path))

    async def up(chosen: Options, _output: object) -> None:
        options.append(chosen)

    def unconfigured(_process: str, *, level: str) -> None:
        assert level == "warning"

    monkeypatch.setattr(stack_commands, "_up", up)
    # This process is the tests' own: its logging stays as they know it.
    monkeypatch.setattr(telemetry, "configure", unconfigured)
    return options


def test_the_models_can_be_left_out(started: list[Options]) -> None:
    done = CliRunner().invoke(app, ["up", "--without", "engine", "--without", "pool"])
    assert done.exit_code == 0, done.stderr
    assert started[0].without == {"engine", "pool"}


def registry(folder: Path) -> Path:
    """A registry with one model, `large`."""
    file = folder / "registry.json"
    model = demo_registry().models[0].model_copy(update={"name": "large"})
    file.write_text(Registry(models=(model,), capabilities={"dossier-reading": ("large",)}).model_dump_json())
    return file


def test_ones_own_engine_takes_the_demo_engines_place(
    started: list[Options], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DIWAN_ENGINE_URL", "http://127.0.0.1:8000")
    monkeypatch.setenv("DIWAN_ENGINE_MODEL", "large")
    monkeypatch.setenv("DIWAN_ENGINE_KEY", "s3cret")
    monkeypatch.setenv("DIWAN_REGISTRY", str(registry(tmp_path)))
    done = CliRunner().invoke(app, ["up"])
    assert done.exit_code == 0, done.stderr
    (options,) = started
    assert options.engine is not None
    assert (options.engine.url, options.engine.model, options.engine.key) == (
        "http://127.0.0.1:8000",
        "large",
        "s3cret",
    )
    assert "s3cret" not in repr(options)
    assert [part for part in ("engine", "pool", "web") if options.starts(part)] == ["pool", "web"]


@pytest.mark.parametrize(
    ("given", "said", "code"),
    [
        ({"ENGINE_MODEL": "large"}, "DIWAN_REGISTRY is not set", 2),
        ({"REGISTRY": "there"}, "DIWAN_ENGINE_MODEL is not set", 2),
        ({"REGISTRY": "there", "ENGINE_MODEL": "small"}, "No such model is registered", 3),
    ],
)
def test_an_engine_of_which_too_little_is_known_is_refused_before_anything_starts(
    started: list[Options],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    given: dict[str, str],
    said: str,
    code: int,
) -> None:
    monkeypatch.setenv("DIWAN_ENGINE_URL", "http://127.0.0.1:8000")
    for name, value in given.items():
        monkeypatch.setenv(f"DIWAN_{name}", str(registry(tmp_path)) if value == "there" else value)
    done = CliRunner().invoke(app, ["up"])
    assert started == []
    assert said in done.stderr
    assert done.exit_code == code


def test_the_engine_of_a_stack_that_died_here_is_not_taken_for_ones_own(started: list[Options], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stack.json").write_text('{"engine_url": "http://127.0.0.1:1"}')
    done = CliRunner().invoke(app, ["up"])
    assert done.exit_code == 0, done.stderr
    assert started[0].engine is None
