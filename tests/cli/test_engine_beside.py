"""The engine that a pool worker takes by its settings: what this host's vLLM is given, and whom it is never sent to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diwan import settings
from diwan.cli.engine_beside import batch_invariant_of, launch_of
from diwan.domain.errors import Conflict, InvalidInput
from diwan.domain.rerun import Known
from diwan.embedded.demo_registry import demo_registry
from tests.cli.conftest import DiwanProcess
from tests.pool.serving import answering

MODEL = demo_registry().models[0].name


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in settings.Settings.model_fields:
        monkeypatch.delenv(f"DIWAN_{name.upper()}", raising=False)
    monkeypatch.setenv("DIWAN_HOME", str(tmp_path))
    return monkeypatch


def test_the_settings_of_this_hosts_vllm(chosen: pytest.MonkeyPatch) -> None:
    chosen.setenv("DIWAN_ENGINE_ROOM", "32")
    chosen.setenv("DIWAN_ENGINE_TENSOR_PARALLEL", "2")
    chosen.setenv("DIWAN_ENGINE_ARGS", "--gpu-memory-utilization 0.85 --hf-overrides '{\"a\": 1}'")
    made = launch_of(settings.load(), Path("weights"))
    assert (made.room, made.tensor_parallel, made.program) == (32, 2, "vllm")
    assert made.arguments == ("--gpu-memory-utilization", "0.85", "--hf-overrides", '{"a": 1}')
    assert made.weights == Path("weights").absolute()
    assert made.port > 0
    assert made.key != launch_of(settings.load(), Path("weights")).key  # nobody else's, and new each time
    chosen.setenv("DIWAN_ENGINE_KEY", "given")
    assert launch_of(settings.load(), Path("weights")).key == "given"


@pytest.mark.parametrize(
    ("said", "of_another", "of_ours"),
    [("", Known.UNKNOWN, Known.NO), ("true", Known.YES, Known.YES), ("false", Known.NO, Known.NO)],
)
def test_whether_an_engine_is_batch_invariant_is_known_of_ours_and_said_of_another(
    chosen: pytest.MonkeyPatch, said: str, of_another: Known, of_ours: Known
) -> None:
    chosen.setenv("DIWAN_ENGINE_BATCH_INVARIANT", said)
    assert batch_invariant_of(settings.load()) is of_another
    chosen.setenv("DIWAN_ENGINE_WEIGHTS", "weights")
    assert batch_invariant_of(settings.load()) is of_ours
    assert launch_of(settings.load(), Path("weights")).batch_invariant is (of_ours is Known.YES)


@pytest.mark.parametrize("words", ["--host 0.0.0.0", "--enable-log-requests", "'"])
def test_options_that_open_it_or_say_nothing_are_refused(chosen: pytest.MonkeyPatch, words: str) -> None:
    chosen.setenv("DIWAN_ENGINE_ARGS", words)
    with pytest.raises(InvalidInput, match="DIWAN_ENGINE_ARGS"):
        launch_of(settings.load(), Path("weights"))


async def test_a_port_that_is_taken_is_said(chosen: pytest.MonkeyPatch) -> None:
    async with answering(lambda reader, writer: writer.drain()) as url:
        chosen.setenv("DIWAN_ENGINE_PORT", url.rpartition(":")[2])
        with pytest.raises(Conflict, match="DIWAN_ENGINE_PORT"):
            launch_of(settings.load(), Path("weights"))


@pytest.mark.parametrize(
    ("url", "code"), [("http://203.0.113.7:8000", 4), ("https://203.0.113.7", 4), ("http://127.0.0.1:8000/v1", 2)]
)
def test_the_pool_worker_does_not_start_for_an_engine_outside(
    diwan_process: DiwanProcess, tmp_path: Path, url: str, code: int
) -> None:
    registry = tmp_path / "registry.json"
    registry.write_text(demo_registry().model_dump_json())
    done = diwan_process(*("pool", "serve", "--model", MODEL), **_pool(registry, DIWAN_ENGINE_URL=url))
    assert done.returncode == code, done.stderr
    assert ("engine.outside_perimeter" if code == 4 else "engine.bad_address") in done.stderr


def test_nor_on_weights_that_are_not_registered(diwan_process: DiwanProcess, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other")
    registry = tmp_path / "registry.json"
    registry.write_text(demo_registry().model_dump_json())
    done = diwan_process(*("pool", "serve", "--model", MODEL), **_pool(registry, DIWAN_ENGINE_WEIGHTS=str(tmp_path)))
    assert done.returncode == 1, done.stderr
    assert "pool.other_model" in done.stderr


def test_a_model_that_is_not_registered_is_not_found(diwan_process: DiwanProcess, tmp_path: Path) -> None:
    registry = tmp_path / "registry.json"
    registry.write_text(json.dumps({"models": [], "capabilities": {}}))
    done = diwan_process(*("pool", "serve", "--model", MODEL), **_pool(registry, DIWAN_ENGINE_URL="http://127.0.0.1:1"))
    assert done.returncode == 3, done.stderr


def _pool(registry: Path, **more: str) -> dict[str, str]:
    """Settings of a pool worker whose other parts are never reached."""
    nowhere = {"DIWAN_DATABASE_URL_POOL": "postgresql://nobody@127.0.0.1:1/none", "DIWAN_VAULT_TOKEN": "t"}
    return {**nowhere, "DIWAN_VAULT_ADDRESS": "http://127.0.0.1:1", "DIWAN_REGISTRY": str(registry), **more}
