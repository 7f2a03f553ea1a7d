"""The vLLM that a pool worker starts itself: its command line, its environment, and the watch over its process.

It serves one registered model on loopback, from files whose digests were reckoned first. It is a process group of its
own (front end, engine core, a worker for each device), so that what is left of a dead one goes with it. A dead or hung
one is started again, with a growing pause; it ends with this worker, after the drain.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from diwan.domain.errors import DiwanError, Final, NotFound, Unavailable
from diwan.pool import digests
from diwan.pool.registry import EngineArguments, Model

log = structlog.get_logger()

LOOPBACK = "127.0.0.1"
# Names in the environment that are ours (secrets among them) or would lead elsewhere.
_NOT_PASSED_ON = ("DIWAN_",)
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy"})
_SILENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


@dataclass(frozen=True)
class Launch:
    """What of an engine is its host's: where vLLM and the weights lie, how many devices, how many calls at once.

    `key` is the bearer token that it will want: any user of the host can reach loopback. `arguments` are more of vLLM's
    options, after the registry's. `batch_invariant`: what it answers is not to hang on what else it answers meanwhile,
    where the device can do that.
    """

    program: str
    weights: Path
    port: int
    key: str
    room: int
    tensor_parallel: int = 1
    arguments: EngineArguments = ()
    batch_invariant: bool = False


def arguments_of(model: Model, host: Launch) -> list[str]:
    """The words after the program."""
    words = [
        *("serve", str(host.weights), "--served-model-name", model.name, "--host", LOOPBACK, "--port", str(host.port)),
        *("--max-model-len", str(model.context_length), "--tensor-parallel-size", str(host.tensor_parallel)),
        # Our own sampling is in each request; what a model's folder recommends must not change it.
        *("--generation-config", "vllm", "--enable-prompt-tokens-details"),
        # It counts running calls as well: what waits, waits in Temporal, where priority and fairness are.
        *("--max-num-queued-reqs", str(host.room + 1)),
        # Without the second a model can fill its whole answer with blanks: JSON allows them anywhere.
        *("--structured-outputs-config.backend", "xgrammar"),
        *("--structured-outputs-config.disable_any_whitespace", "true"),
    ]
    if model.tool_parser:
        words += ["--enable-auto-tool-choice", "--tool-call-parser", model.tool_parser]
    if model.reasoning_parser:
        words += ["--reasoning-parser", model.reasoning_parser]
    if model.chat_template is not None:
        words += ["--chat-template", str(host.weights / model.chat_template.file)]
    if model.quantization:
        words += ["--quantization", model.quantization]
    return [*words, *model.engine_args, *host.arguments]


def environment_of(ours: Mapping[str, str], key: str, *, batch_invariant: bool = False) -> dict[str, str]:
    """What of our environment it gets: nothing of Diwan's, no proxy; it looks nothing up and reports to nobody.

    Batch-invariant mode is said either way: what a host says of it must not hang on an operator's shell.
    """
    kept = {
        name: value
        for name, value in ours.items()
        if not name.startswith(_NOT_PASSED_ON) and name.lower() not in _PROXIES
    }
    return {**kept, **_SILENT, "VLLM_API_KEY": key, "VLLM_BATCH_INVARIANT": "1" if batch_invariant else "0"}


def program_at(wanted: str) -> Path:
    """The program's own path. Raises `NotFound`."""
    found = shutil.which(wanted)
    if found is None:
        raise NotFound(
            "engine.no_program",
            f"There is no program {wanted} to start vLLM with.",
            "pip install 'diwan-casework[pool]' on this host, or set DIWAN_ENGINE_PROGRAM.",
        )
    return Path(found).absolute()


@dataclass(frozen=True)
class Patience:
    """In seconds: for a start, of a silent engine, between looks at it, for its end, between starts."""

    start_s: float = 1_800.0
    silent_s: float = 60.0
    look_s: float = 5.0
    end_s: float = 4.0
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    stable_s: float = 300.0


class Engine:
    """One engine. `bound` gives the command line that runs a program so that it cannot outlive this process.

    `healthy` asks the engine; `output` is a file that its log is appended to, else it goes where ours goes.
    """

    def __init__(
        self,
        model: Model,
        host: Launch,
        *,
        bound: Callable[[Path, Sequence[str]], Sequence[str]],
        healthy: Callable[[], Awaitable[bool]],
        environment: Mapping[str, str],
        output: Path | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._model = model
        self._host = host
        self._bound = bound
        self._healthy = healthy
        self._environment = environment_of(environment, host.key, batch_invariant=host.batch_invariant)
        self._output = output
        self._patience = patience or Patience()
        self._process: asyncio.subprocess.Process | None = None
        self._verified: tuple[object, ...] = ()
        self.restarts = 0

    @asynccontextmanager
    async def serving(self, stop: asyncio.Event) -> AsyncGenerator[bool]:
        """It serves within the block, and again after each end of it. Gives False where `stop` came before it did.

        Raises `Tampered` for other files than those registered, `Final` where it ends instead of serving,
        `Unavailable` where it is not ready in time, `NotFound` without program or weights.
        """
        try:
            began = time.monotonic()
            up = await self._start(stop)
            if up:
                log.info("engine.started", model=self._model.name, seconds=round(time.monotonic() - began, 1))
            watching = asyncio.create_task(self._keep_alive(stop)) if up else None
            try:
                yield up
            finally:
                if watching is not None:
                    watching.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await watching
        finally:
            await self._end()

    async def _start(self, stop: asyncio.Event) -> bool:
        if not await self._verified_unless(stop):
            return False
        await self._spawn()
        deadline = time.monotonic() + self._patience.start_s
        while not stop.is_set():
            if await self._healthy() and self._alive():
                return True
            if not self._alive():
                raise Final(
                    "engine.not_started",
                    f"vLLM ended before it served ({self._how()}).",
                    f"Look at its log: {self._output or 'above'}.",
                )
            if time.monotonic() > deadline:
                raise Unavailable(
                    "engine.slow_start",
                    "vLLM was not ready in time.",
                    "Look at its log, or raise DIWAN_ENGINE_START_S.",
                )
            await _moment(stop, min(self._patience.look_s, 1.0))
        return False

    async def _keep_alive(self, stop: asyncio.Event) -> None:
        pause = self._patience.first_pause_s
        while True:
            began = time.monotonic()
            await self._until_gone()
            how = self._how()
            await self._end()
            pause = self._next_pause(pause, lived_s=time.monotonic() - began)
            log.error("engine.ended", model=self._model.name, how=how, again_in_s=pause)
            await asyncio.sleep(pause)
            try:
                await self._start(stop)
            except (DiwanError, OSError) as error:
                code = error.code if isinstance(error, DiwanError) else type(error).__name__
                log.error("engine.not_started", model=self._model.name, code=code)
                continue
            self.restarts += 1
            log.info("engine.started", model=self._model.name, restarts=self.restarts)

    def _next_pause(self, last: float, *, lived_s: float) -> float:
        if lived_s > self._patience.stable_s:
            return self._patience.first_pause_s
        return min(last * 2, self._patience.longest_pause_s)

    async def _until_gone(self) -> None:
        """Until its process ended, or nothing was heard of it for too long."""
        heard = time.monotonic()
        while self._alive() and time.monotonic() - heard < self._patience.silent_s:
            with contextlib.suppress(TimeoutError):
                assert self._process is not None
                await asyncio.wait_for(asyncio.shield(self._process.wait()), self._patience.look_s)
            if await self._healthy():
                heard = time.monotonic()

    async def _verified_unless(self, stop: asyncio.Event) -> bool:
        """Reckoned anew only where a file looks another than the last time: weights take minutes to read.

        False where `stop` came meanwhile.
        """
        looks = await asyncio.to_thread(_looks, self._host.weights)
        if looks and looks == self._verified:
            return True
        log.info("engine.verifying", model=self._model.name)
        if await asyncio.to_thread(digests.verify, self._model, self._host.weights, go_on=lambda: not stop.is_set()):
            self._verified = looks
            return True
        return False

    async def _spawn(self) -> None:
        command = self._bound(program_at(self._host.program), arguments_of(self._model, self._host))
        with contextlib.ExitStack() as opened:
            output = opened.enter_context(self._output.open("ab")) if self._output else None
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,
            )

    def _alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def _how(self) -> str:
        if self._process is None:
            return "not started"
        code = self._process.returncode
        if code is None:
            return "silent"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    async def _end(self) -> None:
        """Asks it to end, then ends whatever is left of its group."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), self._patience.end_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        self._process = None


def _looks(folder: Path) -> tuple[object, ...]:
    """What a changed file of the model would show without being read."""
    found: list[object] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        seen = path.stat()
        found.append((path.name, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino))
    return tuple(found)


async def _moment(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
