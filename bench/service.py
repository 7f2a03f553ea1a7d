"""Diwan's own processes on the bench's servers: vault, case worker, pool worker; and the engine of zero latency.

Exactly what a ministry runs (`diwan vault`, `diwan worker`, `diwan pool serve`), set by the same variables. Keys come
from the real vault, values are sealed by the real cipher.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from agents.examiner import EXAMINER
from bench import bare
from bench import engine as engine_file
from bench.processes import Process, Ready, bound
from bench.server import DebianPostgres
from diwan.domain.text import Language
from diwan.embedded import ports, probes
from diwan.pool.registry import Model, Registry
from diwan.vault import setup
from diwan.vault.callers import Caller, read_token
from diwan.vault.setup import VaultFiles

ROOT = Path(__file__).parents[1]
RIVAL_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
NAMESPACE = "diwan"
ROOM = 16  # model calls that the engine takes at once, on both sides
CONNECTIONS = 16


def registry(name: str = bare.MODEL) -> Registry:
    """One model, which is a script; its digest is that of the script."""
    model = Model(
        name=name,
        family="a script, not a model",
        weights_digest=hashlib.sha256(Path(engine_file.__file__).read_bytes()).hexdigest(),
        engine="bench of zero latency",
        licence="Apache-2.0",
        languages=frozenset(Language),
        context_length=131_072,
    )
    return Registry(models=(model,), capabilities={EXAMINER.capability: (model.name,)})


class Service:
    """`processes` in the order they start; `start_vault` comes first, for cases are opened before they are carried."""

    def __init__(
        self, home: Path, postgres: DebianPostgres, temporal: str, *, steps: int, model: str = bare.MODEL
    ) -> None:
        self.home = home
        self._model = model
        self._postgres = postgres
        self._temporal = temporal
        self._health = {name: ports.free_port() for name in ("worker", "pool")}
        self.engine_port = ports.free_port()
        self.socket = home / "vault.sock"
        self._vault = VaultFiles.in_folder(home / "vault")
        self._tokens = {caller: home / f"token-{caller.value}" for caller in Caller}
        self._steps = steps
        (home / "vault").mkdir(mode=0o700)
        setup.initialise(self._vault, self._tokens)
        (home / "registry.json").write_text(registry(model).model_dump_json(), encoding="utf-8")

    def token(self, caller: Caller) -> str:
        return read_token(self._tokens[caller])

    def engine(self) -> Process:
        arguments = ("--port", str(self.engine_port), "--model", self._model, "--steps", str(self._steps))
        return Process(
            "engine",
            bound(sys.executable, "-m", "bench.engine", *arguments),
            self.home / "engine.log",
            self.environment({}),
            lambda: probes.tcp(self.engine_port),
        )

    def vault(self) -> Process:
        settings = {"vault_address": str(self.socket), "vault_dir": str(self._vault.database.parent)}
        return self._process("vault", settings, probes.unix_http(self.socket, "/readyz"), "vault")

    def worker(self, **more: str) -> Process:
        """`more` are further settings."""
        settings = {
            "health_port": str(self._health["worker"]),
            "registry": str(self.home / "registry.json"),
            **self._common("worker", Caller.WORKER),
            **more,
        }
        return self._process("case worker", settings, probes.http(self._health["worker"], "/readyz"), "worker")

    def pool(self) -> Process:
        return self.pool_host("pool worker", self.engine_port, ROOM, health=self._health["pool"])

    def pool_host(self, name: str, engine_port: int, room: int, *, health: int, **more: str) -> Process:
        """A pool worker beside the engine on that port."""
        settings = {
            "health_port": str(health),
            "registry": str(self.home / "registry.json"),
            "engine_url": f"http://127.0.0.1:{engine_port}",
            "engine_model": self._model,
            "engine_room": str(room),
            **self._common("pool", Caller.POOL),
            **more,
        }
        return self._process(name, settings, probes.http(health, "/readyz"), "pool", "serve")

    def _common(self, role: str, caller: Caller) -> dict[str, str]:
        return {
            f"database_url_{role}": self._postgres.url(f"diwan_{role}"),
            "database_pool_size": str(CONNECTIONS),
            "vault_address": str(self.socket),
            "vault_token_file": str(self._tokens[caller]),
            "temporal_address": self._temporal,
            "temporal_namespace": NAMESPACE,
        }

    def _process(self, name: str, settings: Mapping[str, str], ready: Ready, *arguments: str) -> Process:
        command = bound(sys.executable, "-m", "diwan.cli.main", *arguments)
        log = self.home / f"{name.replace(' ', '-')}.log"
        return Process(name, command, log, self.environment(settings), ready)

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """None of the caller's own settings of Diwan."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DIWAN_")}
        ours = {f"DIWAN_{name.upper()}": value for name, value in settings.items()}
        return {**inherited, **ours, "DIWAN_HOME": str(self.home), "PYTHONPATH": str(ROOT)}


def rival_workers(folder: Path, temporal: str, engine_port: int) -> list[Process]:
    """pydantic-ai's durable agent, run by the Python of its own environment."""
    engine = f"http://127.0.0.1:{engine_port}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_ENGINE": engine}
    return [
        Process(
            f"rival {part} worker",
            bound(RIVAL_PYTHON, "-m", "bench.rival.agent", part, temporal, engine, str(ROOM)),
            folder / f"rival-{part}.log",
            environment,
        )
        for part in ("case", "pool")
    ]


def bare_workers(folder: Path, temporal: str) -> list[Process]:
    """The other side: two processes, as Diwan's."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return [
        Process(
            f"bare {part} worker",
            bound(sys.executable, "-m", "bench.bare", part, temporal, str(ROOM)),
            folder / f"bare-{part}.log",
            environment,
        )
        for part in ("case", "pool")
    ]
