"""What the embedded stack consists of: each part's command, settings, health, in the order they start."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diwan.domain.errors import Conflict
from diwan.embedded import launch, ports, probes, temporal
from diwan.embedded.child import Program
from diwan.embedded.demo_engine.app import MODEL as DEMO_MODEL
from diwan.embedded.demo_registry import demo_registry
from diwan.embedded.home import Home
from diwan.embedded.postgres import ROLES, EmbeddedPostgres
from diwan.embedded.temporal import EmbeddedTemporal
from diwan.pool.registry import Registry
from diwan.signer.memory import token_file
from diwan.vault.callers import Caller
from diwan.vault.setup import VaultFiles

SERVERS = ("postgres", "temporal", "vault", "signer", "issuer", "engine")
SERVICES = ("web", "worker", "pool", "relay", "sequencer")
SOCKET_LIMIT = 107
_POOL_HOST = "here"
LEDGER_ORIGIN = "diwan.invalid/ledger"  # nobody else can vouch for a log of one machine


@dataclass(frozen=True)
class OwnEngine:
    """A ministry's own vLLM in the demo engine's place: where it is, which registered model it serves, its key."""

    url: str
    model: str
    registry: Registry
    key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Options:
    """What may be chosen of an embedded stack. A port of 0 takes a free one, the same again where it still is free.

    `without` names parts that are left out: with neither engine nor pool everything is done by hand. With an
    `engine` of one's own the demo engine is not started. `module` is what our own processes run; whoever wants to see
    one die at a chosen place gives another that wraps it. The worker is the only one, so its version is the
    current one as soon as it polls (`alone`), unless versioning is `off`.
    """

    home: Path
    port: int = 8080
    postgres_port: int = 0
    temporal_port: int = 0
    issuer_port: int = 0
    engine_port: int = 0
    agent_patience_s: int = 20
    without: frozenset[str] = frozenset()
    module: str = "diwan.cli.main"
    worker_versioning: str = "alone"
    engine: OwnEngine | None = None

    def starts(self, part: str) -> bool:
        """Whether this stack has the part at all."""
        return part not in self.without and not (part == "engine" and self.engine)


class Parts:
    """The parts of one stack, once their ports are chosen. Raises `Conflict` when a wanted port is taken."""

    def __init__(self, options: Options, home: Home) -> None:
        self.home = home
        self.ports = _choose_ports(options, home.read("ports.json"))
        home.write("ports.json", self.ports)
        self.postgres = EmbeddedPostgres(home.path / "postgres", port=self.ports["postgres"], secrets_dir=home.secrets)
        self.temporal = EmbeddedTemporal(home.path / "temporal", port=self.ports["temporal"])
        self.vault_files = VaultFiles.in_folder(home.path / "vault")
        self.vault_tokens = {caller: home.secrets / f"vault-token-{caller.value}" for caller in Caller}
        self.vault_socket = _short_socket(home.run / "vault.sock")
        self.signer_folder = home.path / "signer"
        self.signer_socket = _short_socket(home.run / "signer.sock")
        self.registry_file = home.run / "registry.json"
        self._patience = options.agent_patience_s
        self._module = options.module
        self._engine = options.engine
        self._worker_versioning = options.worker_versioning

    # --- addresses -----------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self._url("web")

    @property
    def issuer_url(self) -> str:
        return self._url("issuer")

    @property
    def engine_url(self) -> str:
        return self._engine.url if self._engine else self._url("engine")

    def write_files(self) -> None:
        """Write what processes read: a database URL for each role (its port may be new), the model registry."""
        registry = self._engine.registry if self._engine else demo_registry()
        self.home.write("registry.json", registry.model_dump(mode="json"))
        if self._engine and self._engine.key:
            self.home.write_secret(_ENGINE_KEY, self._engine.key)
        for role in ROLES:
            self.home.write_secret(_url_file(role), self.postgres.url(role))

    def as_settings(self) -> dict[str, str]:
        """What the stack is, in the names of diwan.settings: for client commands (`run/stack.json`)."""
        return {
            "url": self.url,
            "issuer_url": self.issuer_url,
            "engine_url": self.engine_url,
            "vault_address": str(self.vault_socket),
            "vault_token_file": str(self.vault_tokens[Caller.AUDITOR]),  # client commands only read
            "signer_address": str(self.signer_socket),
            "signer_token_file": str(token_file(self.signer_folder)),
            **self._temporal_settings(),
            **{f"{name}_file": path for role in ROLES for name, path in [self._database(role)]},
        }

    # --- programs ------------------------------------------------------------------------------------------------

    def program(self, name: str) -> Program:
        """The program of a part, by name."""
        if name == "postgres":
            return self._postgres()
        if name == "temporal":
            return self._temporal()
        settings, ready = {
            "vault": (self._vault_settings(), probes.unix_http(self.vault_socket, "/readyz")),
            "signer": (self._signer_settings(), probes.unix_http(self.signer_socket, "/readyz")),
            "issuer": (
                {"issuer_url": self.issuer_url, "issuer_port": str(self.ports["issuer"])},
                probes.http(self.ports["issuer"], "/.well-known/openid-configuration"),
            ),
            "engine": ({"engine_port": str(self.ports["engine"])}, probes.http(self.ports["engine"], "/health")),
            "web": (self._web_settings(), probes.http(self.ports["web"], "/readyz")),
            "worker": (self._worker_settings(), probes.http(self.ports["worker_health"], "/readyz")),
            "pool": (self._pool_settings(), probes.http(self.ports["pool_health"], "/readyz")),
            "relay": (self._relay_settings(), probes.http(self.ports["relay_health"], "/readyz")),
            "sequencer": (self._sequencer_settings(), probes.http(self.ports["sequencer_health"], "/readyz")),
        }[name]
        arguments = ("pool", "serve") if name == "pool" else (name,)
        return Program(
            name=name,
            command=lambda: launch.command(signal.SIGTERM, Path(sys.executable), "-m", self._module, *arguments),
            ready=ready,
            environment=self._environment(settings),
        )

    def _postgres(self) -> Program:
        server = self.postgres

        def command() -> list[str]:
            server.clear_stale_pid()
            return server.command()

        async def ready() -> bool:
            return await asyncio.to_thread(server.ready)

        return Program(
            name="postgres",
            command=command,
            ready=ready,
            environment=server.environment(),
            stop_signal=signal.SIGINT,
            kill_signal=signal.SIGQUIT,
            why_not_started=server.why_not_started,
        )

    def _temporal(self) -> Program:
        server = self.temporal
        return Program(
            name="temporal",
            command=server.command,
            ready=server.ready,
            environment=server.environment(),
            stop_within_s=10.0,
            why_not_started=lambda output: temporal.why_not_started(output, server.port),
        )

    # --- settings ------------------------------------------------------------------------------------------------

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Our own variables replace whatever the user's environment says of another installation."""
        decided = {f"DIWAN_{name.upper()}" for name in (*self.as_settings(), *_DECIDED)}
        inherited = {name: value for name, value in os.environ.items() if name not in decided}
        return {
            **inherited,
            "DIWAN_HOME": str(self.home.path),
            **{f"DIWAN_{name.upper()}": value for name, value in settings.items()},
        }

    def _url(self, part: str) -> str:
        return f"http://127.0.0.1:{self.ports[part]}"

    def _database(self, role: str) -> tuple[str, str]:
        return f"database_url_{role.removeprefix('diwan_')}", str(self.home.secrets / _url_file(role))

    def _database_settings(self, role: str) -> dict[str, str]:
        name, path = self._database(role)
        return {f"{name}_file": path}

    def _temporal_settings(self) -> dict[str, str]:
        return {"temporal_address": self.temporal.address, "temporal_namespace": self.temporal.namespace}

    def _of_caller(self, caller: Caller) -> dict[str, str]:
        return {"vault_address": str(self.vault_socket), "vault_token_file": str(self.vault_tokens[caller])}

    def _vault_settings(self) -> dict[str, str]:
        return {"vault_address": str(self.vault_socket), "vault_dir": str(self.vault_files.database.parent)}

    def _signer_settings(self) -> dict[str, str]:
        return {
            "signer_address": str(self.signer_socket),
            "signer_dir": str(self.signer_folder),
            "ledger_origin": LEDGER_ORIGIN,
        }

    def _sequencer_settings(self) -> dict[str, str]:
        return {
            "health_port": str(self.ports["sequencer_health"]),
            "ledger_origin": LEDGER_ORIGIN,
            "signer_address": str(self.signer_socket),
            "signer_token_file": str(token_file(self.signer_folder)),
            **self._database_settings("diwan_sequencer"),
        }

    def _web_settings(self) -> dict[str, str]:
        return {
            "host": "127.0.0.1",
            "port": str(self.ports["web"]),
            "health_port": str(self.ports["web_health"]),
            "issuer_url": self.issuer_url,
            **self._database_settings("diwan_web"),
            **self._of_caller(Caller.WEB),
        }

    def _worker_settings(self) -> dict[str, str]:
        return {
            "health_port": str(self.ports["worker_health"]),
            "registry": str(self.registry_file),
            "agent_patience_s": str(self._patience),
            "worker_versioning": self._worker_versioning,
            **self._database_settings("diwan_worker"),
            **self._of_caller(Caller.WORKER),
            "vault_eraser_token_file": str(self.vault_tokens[Caller.ERASER]),
            **self._temporal_settings(),
        }

    def _pool_settings(self) -> dict[str, str]:
        return {
            "health_port": str(self.ports["pool_health"]),
            "engine_url": self.engine_url,
            "engine_model": self._engine.model if self._engine else DEMO_MODEL,
            "pool_host": _POOL_HOST,
            **({"engine_key_file": str(self.home.secrets / _ENGINE_KEY)} if self._engine and self._engine.key else {}),
            "registry": str(self.registry_file),
            **self._database_settings("diwan_pool"),
            **self._of_caller(Caller.POOL),
            **self._temporal_settings(),
        }

    def _relay_settings(self) -> dict[str, str]:
        return {
            "health_port": str(self.ports["relay_health"]),
            "webhook_secrets": str(self.home.path / "webhooks"),
            **self._database_settings("diwan_relay"),
            **self._temporal_settings(),
        }


# Settings that the stack decides besides those it writes down for clients.
_DECIDED = (
    *("host", "port", "health_host", "health_port", "issuer_port", "engine_port", "vault_dir", "agent_patience_s"),
    *("engine_key", "engine_key_file", "engine_model", "registry", "webhook_secrets", "worker_versioning"),
    *("engine_weights", "vault_token", "vault_token_file", "temporal_tls", "database_url_owner", "database_url_web"),
    *("vault_eraser_token", "vault_eraser_token_file", "vault_key", "vault_journal", "vault_pkcs11_module"),
    *("database_url_worker", "database_url_pool", "database_url_relay", "database_url_sequencer"),
    *("database_url_auditor", "ledger_origin", "signer_dir", "signer_token", "signer_token_file"),
)


_ENGINE_KEY = "engine-key"
# Where /healthz and /metrics of each answer; the others have an address of their own.
_HEALTH = ("web_health", "worker_health", "pool_health", "relay_health", "sequencer_health")


def _url_file(role: str) -> str:
    return f"database-url-{role.removeprefix('diwan_')}"


def _choose_ports(options: Options, remembered: Mapping[str, object]) -> dict[str, int]:
    """A port for each part that listens: the one that is set, else the one of last time, else a free one."""
    wanted = {
        "web": (options.port, "DIWAN_PORT"),
        "postgres": (options.postgres_port, "DIWAN_POSTGRES_PORT"),
        "temporal": (options.temporal_port, "DIWAN_TEMPORAL_PORT"),
        "issuer": (options.issuer_port, "DIWAN_ISSUER_PORT"),
        "engine": (options.engine_port, "DIWAN_ENGINE_PORT"),
        **dict.fromkeys(_HEALTH, (0, "DIWAN_HEALTH_PORT")),
    }
    chosen: dict[str, int] = {}
    for name, (port, setting) in wanted.items():
        before = remembered.get(name)
        again = port == 0 and isinstance(before, int) and before not in chosen.values() and ports.is_free(before)
        chosen[name] = before if again and isinstance(before, int) else _unused(port, setting, chosen.values())
    return chosen


def _unused(port: int, setting: str, taken: Iterable[int]) -> int:
    """As `ports.claim`, but no free port twice: nobody listens on them yet."""
    while (claimed := ports.claim(port, setting)) in taken:
        if port:
            raise Conflict("port.twice", f"Port {port} is set for two parts.", f"Choose another: {setting}=PORT.")
    return claimed


def _short_socket(wanted: Path) -> Path:
    if len(os.fsencode(wanted)) <= SOCKET_LIMIT:
        return wanted
    return ports.short_folder(wanted.parent) / wanted.name
