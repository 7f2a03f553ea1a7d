"""A real vLLM server on the CPU with the tiny random Mistral: started, killed, stopped, let go on.

The server is a process group of its own (front end, engine core, worker): -9 ends all of it, as a dead host would.
It listens on loopback, looks nothing up and reports to nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from agents.examiner import EXAMINER
from diwan.domain.text import Language
from diwan.embedded import launch
from diwan.embedded.parts import OwnEngine
from diwan.embedded.ports import free_port
from diwan.pool.digests import tokenizer_digest
from diwan.pool.registry import Model, Registry

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".venv-vllm"
WEIGHTS = ENVIRONMENT / "tiny-mistral"
NAME = "tiny-mistral"
VERSION = "0.32.0"
CONTEXT = 8_192
# Alone it takes a minute or two; a machine may be very busy.
_START_WITHIN_S = 900.0

_ARGUMENTS = (
    *("--enforce-eager", "--dtype", "float32", "--max-model-len", str(CONTEXT), "--max-num-seqs", "4"),
    # Our own sampling is in each request; what a model's folder recommends must not change it.
    *("--generation-config", "vllm"),
    *("--enable-prompt-tokens-details", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    # Without the second a small model can fill its whole answer with blanks: JSON allows them anywhere.
    *("--structured-outputs-config.backend", "xgrammar"),
    *("--structured-outputs-config.disable_any_whitespace", "true"),
)


class Server:
    """One address; the process behind it may change. `more` goes into its environment."""

    def __init__(self, folder: Path, *, more: Mapping[str, str] | None = None) -> None:
        self._more = more or {}
        self.log = folder / "vllm.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> float:
        """Seconds until it serves."""
        began = time.monotonic()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *launch.command(signal.SIGTERM, ENVIRONMENT / "bin" / "python", *self._arguments()),
                env=self._environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        async with asyncio.timeout(_START_WITHIN_S), httpx.AsyncClient(trust_env=False) as http:
            while not await _answers(http, f"{self.url}/health"):
                assert self._process.returncode is None, f"vLLM did not start:\n{self.tail()}"
                await asyncio.sleep(0.5)
        return time.monotonic() - began

    def _arguments(self) -> tuple[str, ...]:
        return (
            *("-m", "vllm.entrypoints.openai.api_server", "--model", str(WEIGHTS), "--served-model-name", NAME),
            *("--host", "127.0.0.1", "--port", str(self.port), *_ARGUMENTS),
        )

    def _environment(self) -> dict[str, str]:
        """Nothing of ours; and nothing that would make it speak to anybody."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "VLLM_CACHE_ROOT": str(self._folder / "cache"),
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TRANSFORMERS_OFFLINE": "1",
            **self._more,
        }

    def hang(self) -> None:
        """It takes connections and answers nothing, until `go_on`."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url, timeout=5.0)).status_code == 200
    except httpx.HTTPError:
        return False


def weights_digest() -> str:
    """Reckoned apart from the service: `cat *.safetensors | sha256sum`, as docs/operations.md has it."""
    total = hashlib.sha256()
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        total.update(path.read_bytes())
    return total.hexdigest()


def registered(name: str = NAME) -> Model:
    """The tiny model's entry; with the options that the CPU needs, for whoever starts vLLM by it."""
    return Model(
        name=name,
        family="Mistral, two layers of random weights",
        weights_digest=weights_digest(),
        tokenizer_digest=tokenizer_digest(WEIGHTS),
        engine=f"vllm {VERSION}",
        licence="Apache-2.0",
        languages=frozenset(Language),
        context_length=CONTEXT,
        tool_parser="hermes",
        engine_args=("--enforce-eager", "--dtype", "float32", "--max-num-seqs", "4"),
    )


def own_engine(server: Server, *, name: str = NAME) -> OwnEngine:
    """The server as an embedded stack takes it; under another `name` it serves no such model."""
    model = registered(name)
    registry = Registry(models=(model,), capabilities={EXAMINER.capability: (name,)})
    return OwnEngine(url=server.url, model=name, registry=registry)
