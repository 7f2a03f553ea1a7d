"""The vLLM that a pool worker starts: its command line, its files, its life and its end. A stand-in plays vLLM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from diwan.domain.errors import DiwanError, Final, NotFound, Tampered, Unavailable
from diwan.embedded import launch
from diwan.embedded.ports import free_port
from diwan.pool import digests
from diwan.pool.engine import EngineClient
from diwan.pool.registry import ChatTemplate, Model
from diwan.pool.vllm import Engine, Launch, Patience, arguments_of, environment_of
from tests.pool.test_registry import model

STAND_IN = Path(__file__).with_name("fake_vllm.py")
QUICK = Patience(start_s=60, silent_s=1, look_s=0.05, end_s=0.5, first_pause_s=0.05, longest_pause_s=0.2, stable_s=1e9)


# --- the command line -------------------------------------------------------------------------------------------------


def host(**changed: Any) -> Launch:
    given: dict[str, Any] = {"program": "vllm", "weights": Path("/weights"), "port": 8001, "key": "secret", "room": 16}
    return Launch(**{**given, **changed})


def test_the_command_line_of_a_model() -> None:
    words = arguments_of(model("m"), host())
    assert words == [
        *("serve", "/weights", "--served-model-name", "m", "--host", "127.0.0.1", "--port", "8001"),
        *("--max-model-len", "32768", "--tensor-parallel-size", "1", "--generation-config", "vllm"),
        *("--enable-prompt-tokens-details", "--max-num-queued-reqs", "17"),
        *("--structured-outputs-config.backend", "xgrammar"),
        *("--structured-outputs-config.disable_any_whitespace", "true"),
    ]
    assert "secret" not in words  # any user of the host sees it


def test_what_the_registry_and_the_host_say_comes_with_it() -> None:
    registered = model("m").model_copy(
        update={
            "tool_parser": "openai",
            "reasoning_parser": "openai_gptoss",
            "chat_template": ChatTemplate(file="own.jinja", digest="0" * 64),
            "quantization": "fp8",
            "engine_args": ("--load-format", "mistral"),
        }
    )
    words = arguments_of(registered, host(tensor_parallel=4, arguments=("--max-num-seqs", "32")))
    assert words[words.index("--tensor-parallel-size") + 1] == "4"
    assert words[len(arguments_of(model("m"), host())) :] == [
        *("--enable-auto-tool-choice", "--tool-call-parser", "openai", "--reasoning-parser", "openai_gptoss"),
        *("--chat-template", "/weights/own.jinja", "--quantization", "fp8"),
        *("--load-format", "mistral", "--max-num-seqs", "32"),
    ]


def test_its_environment_has_nothing_of_ours_and_leads_nowhere() -> None:
    ours = {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "0",
        "DIWAN_VAULT_TOKEN": "t",
        "HTTPS_PROXY": "p",
        "https_proxy": "p",
    }
    its = environment_of({**ours, "HF_HUB_OFFLINE": "0"}, "secret")
    assert {"PATH", "CUDA_VISIBLE_DEVICES"} <= its.keys()
    assert not {"DIWAN_VAULT_TOKEN", "HTTPS_PROXY", "https_proxy"} & its.keys()
    assert (its["HF_HUB_OFFLINE"], its["VLLM_NO_USAGE_STATS"], its["VLLM_API_KEY"]) == ("1", "1", "secret")
    # Whatever the shell has: what the host says of this mode is what was switched on here.
    modes = [environment_of({"VLLM_BATCH_INVARIANT": "1"}, "k", batch_invariant=on) for on in (False, True)]
    assert [mode["VLLM_BATCH_INVARIANT"] for mode in modes] == ["0", "1"]


# --- its life ---------------------------------------------------------------------------------------------------------


class Bench:
    """A folder of weights, the stand-in as `vllm`, and what it saw."""

    def __init__(self, folder: Path) -> None:
        self.weights = folder / "weights"
        self.weights.mkdir()
        (self.weights / "model.safetensors").write_bytes(b"w" * 100)
        (self.weights / "tokenizer.json").write_text("{}")
        self.seen_file = folder / "seen"
        self.output = folder / "vllm.log"
        self.program = folder / "vllm"
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
        self.program.chmod(0o700)
        self.port = free_port()

    @property
    def model(self) -> Model:
        return model("m").model_copy(update=dict(digests.digests(self.weights)))

    def seen(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.seen_file.read_text().splitlines()] if self.seen_file.exists() else []

    @contextlib.asynccontextmanager
    async def engine(
        self, does: str = "serve", *, of: Model | None = None, patience: Patience = QUICK
    ) -> AsyncGenerator[Engine]:
        async with EngineClient(f"http://127.0.0.1:{self.port}") as client:

            async def healthy() -> bool:
                try:
                    return await asyncio.wait_for(client.healthy(), 0.5)
                except TimeoutError:
                    return False

            yield Engine(
                of or self.model,
                Launch(program=str(self.program), weights=self.weights, port=self.port, key="k", room=4),
                bound=lambda program, words: launch.command(signal.SIGTERM, program, *words),
                healthy=healthy,
                environment={**os.environ, "FAKE_VLLM_SEEN": str(self.seen_file), "FAKE_VLLM_DOES": does},
                output=self.output,
                patience=patience,
            )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def gone(pid: int) -> bool:
    """Whether it runs no more; a zombie that nobody has waited for does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


async def becomes(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if holds():
                return
            await asyncio.sleep(0.02)


async def all_gone(bench: Bench) -> None:
    """Killed is not gone: the kernel takes a moment."""
    await becomes(lambda: all(gone(seen["pid"]) and gone(seen["child"]) for seen in bench.seen()))


async def test_it_serves_within_the_block_and_nothing_of_it_is_left(bench: Bench) -> None:
    stop = asyncio.Event()
    async with bench.engine() as engine, engine.serving(stop) as up:
        assert up
        (seen,) = bench.seen()
        assert seen["words"] == arguments_of(
            bench.model, Launch(program="", weights=bench.weights, port=bench.port, key="", room=4)
        )
        assert seen["environment"]["VLLM_API_KEY"] == "k"
        assert not gone(seen["pid"])
    await all_gone(bench)
    assert "the stand-in starts" in bench.output.read_text()


async def test_one_that_will_not_end_is_ended(bench: Bench) -> None:
    async with bench.engine("stubborn") as engine, engine.serving(asyncio.Event()) as up:
        assert up
    await all_gone(bench)


async def test_a_dead_one_is_started_again_and_what_was_left_of_it_goes(bench: Bench) -> None:
    async with bench.engine() as engine, engine.serving(asyncio.Event()):
        for _ in range(2):
            last = bench.seen()[-1]
            restarts = engine.restarts
            os.kill(last["pid"], signal.SIGKILL)
            await becomes(lambda before=restarts: engine.restarts > before)
            await becomes(lambda child=last["child"]: gone(child))
        assert [engine.restarts, len(bench.seen())] == [2, 3]


async def test_one_that_hangs_is_ended_and_started_again(bench: Bench) -> None:
    silence = bench.seen_file.with_suffix(".silent")
    async with bench.engine() as engine, engine.serving(asyncio.Event()):
        (hung,) = bench.seen()
        silence.touch()
        await becomes(lambda: gone(hung["pid"]))
        silence.unlink()
        await becomes(lambda: engine.restarts == 1)
        assert len(bench.seen()) == 2


async def test_other_weights_are_refused_and_nothing_is_started(bench: Bench) -> None:
    known = bench.model
    (bench.weights / "model.safetensors").write_bytes(b"other")
    async with bench.engine(of=known) as engine:
        with pytest.raises(Tampered) as raised:
            async with engine.serving(asyncio.Event()):
                pytest.fail("it serves")
    assert raised.value.code == "pool.other_model"
    assert bench.seen() == []


async def test_weights_that_were_changed_under_it_are_not_started_on(bench: Bench) -> None:
    known = bench.model
    with capture_logs() as logs:
        async with bench.engine(of=known) as engine, engine.serving(asyncio.Event()):
            await starts_only_on_what_is_registered(bench, engine, logs)


async def starts_only_on_what_is_registered(bench: Bench, engine: Engine, logs: list[Any]) -> None:
    (first,) = bench.seen()
    kept = (bench.weights / "model.safetensors").read_bytes()
    (bench.weights / "model.safetensors").write_bytes(b"other")
    os.kill(first["pid"], signal.SIGKILL)
    await becomes(lambda: any(line.get("code") == "pool.other_model" for line in logs))
    (bench.weights / "model.safetensors").write_bytes(kept)
    await becomes(lambda: engine.restarts == 1)
    assert len(bench.seen()) == 2


@pytest.mark.parametrize(
    ("does", "start_s", "kind", "code"),
    [("exit", 60, Final, "engine.not_started"), ("never", 0.3, Unavailable, "engine.slow_start")],
)
async def test_one_that_does_not_serve_is_an_error_with_its_log(
    bench: Bench, does: str, start_s: float, kind: type[DiwanError], code: str
) -> None:
    patience = Patience(start_s=start_s, look_s=0.05, end_s=0.5)
    async with bench.engine(does, patience=patience) as engine:
        with pytest.raises(kind) as raised:
            async with engine.serving(asyncio.Event()):
                pytest.fail("it serves")
    assert raised.value.code == code
    await all_gone(bench)


async def test_a_stop_while_it_loads_is_heeded(bench: Bench) -> None:
    stop = asyncio.Event()
    async with bench.engine("never") as engine:
        asyncio.get_running_loop().call_later(0.2, stop.set)
        async with engine.serving(stop) as up:
            assert not up
    await all_gone(bench)


async def test_a_stop_while_weights_are_read_is_heeded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_CHUNK", 10)
    stop = asyncio.Event()
    stop.set()
    async with bench.engine() as engine, engine.serving(stop) as up:
        assert not up
    assert bench.seen() == []


async def test_without_the_program_it_says_how_to_get_it(bench: Bench) -> None:
    bench.program.unlink()
    async with bench.engine() as engine:
        with pytest.raises(NotFound) as raised:
            async with engine.serving(asyncio.Event()):
                pytest.fail("it serves")
    assert "diwan-casework[pool]" in raised.value.remedy
