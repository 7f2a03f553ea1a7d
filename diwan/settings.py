"""Every setting of Diwan, in one place. Only `diwan.cli` imports this module.

In this order: `DIWAN_…` variables, the TOML file (DIWAN_CONFIG, else `diwan.toml` in DIWAN_HOME), what a stack
that runs in DIWAN_HOME wrote down about itself, the defaults. A secret may be given as a file instead:
`DIWAN_VAULT_TOKEN_FILE=/run/secrets/vault_token`. deploy/settings.md is made from this class.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from diwan.domain.errors import InvalidInput

PREFIX = "DIWAN_"
STACK_FILE = "run/stack.json"

DatabaseRole = Literal["owner", "web", "worker", "pool", "relay", "sequencer", "auditor"]


def default_home() -> Path:
    """Where the embedded stack keeps its data when nothing is said: root's is reachable for the database's user."""
    if os.geteuid() == 0:
        return Path("/var/lib/diwan")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "diwan"


Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """One frozen value; `load` builds it. `Field.description` is what operators read in deploy/settings.md."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    home: Path = Field(default_factory=default_home, description="Folder of the embedded stack's data.")
    url: str = Field(default="http://127.0.0.1:8080", description="The service that a client command speaks to.")
    token: SecretStr | None = Field(default=None, description="Access token of client commands.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )

    trace_file: Path | None = Field(
        default=None,
        description="File that spans are appended to, as lines of OTLP's JSON; processes may share it.",
    )
    otlp_endpoint: str = Field(
        default="",
        description="Base address of a collector inside the ministry that takes spans (OTLP over HTTP, JSON).",
    )

    host: str = Field(
        default="127.0.0.1", description="Address that `diwan web`, or `diwan witness serve`, listens on."
    )
    port: Port = Field(
        default=8080, description="Port that `diwan web`, or `diwan witness serve`, listens on; 0: a free one."
    )
    health_host: str = Field(
        default="127.0.0.1", description="Address that DIWAN_HEALTH_PORT is on; never one that the public reaches."
    )
    health_port: Port = Field(default=0, description="Port of /healthz, /readyz and /metrics of this process; 0: none.")
    postgres_port: Port = Field(default=0, description="Port of the embedded Postgres; 0 takes a free one.")
    temporal_port: Port = Field(default=0, description="Port of the embedded Temporal; 0 takes a free one.")
    issuer_port: Port = Field(default=0, description="Port of the embedded token issuer; 0 takes a free one.")
    engine_port: Port = Field(
        default=0, description="Port of the demo engine, or of the vLLM that `pool serve` starts; 0 takes a free one."
    )

    database_url_owner: SecretStr | None = Field(
        default=None, description="libpq URL of role diwan_owner: migrations only."
    )
    database_url_web: SecretStr | None = Field(default=None, description="libpq URL of role diwan_web.")
    database_url_worker: SecretStr | None = Field(default=None, description="libpq URL of role diwan_worker.")
    database_url_pool: SecretStr | None = Field(default=None, description="libpq URL of role diwan_pool.")
    database_url_relay: SecretStr | None = Field(default=None, description="libpq URL of role diwan_relay.")
    database_url_sequencer: SecretStr | None = Field(default=None, description="libpq URL of role diwan_sequencer.")
    database_url_auditor: SecretStr | None = Field(
        default=None, description="libpq URL of role diwan_auditor: verification."
    )
    database_pool_size: int = Field(default=8, ge=1, le=200, description="Database connections of each process.")

    temporal_address: str = Field(default="127.0.0.1:7233", description="host:port of Temporal's frontend.")
    temporal_namespace: str = Field(default="diwan", description="Temporal namespace.")
    temporal_tls: bool = Field(default=False, description="Whether the way to Temporal is TLS.")
    temporal_tls_ca: Path | None = Field(
        default=None, description="PEM file of the authority of Temporal's certificate."
    )
    temporal_tls_cert: Path | None = Field(default=None, description="PEM file of our certificate for Temporal.")
    temporal_tls_key: Path | None = Field(default=None, description="PEM file of that certificate's key.")

    worker_versioning: Literal["auto", "alone", "off"] = Field(
        default="auto",
        description="Where Temporal has worker deployments, cases go to workers of the current version. auto: a worker "
        "makes its version current when no worker of the current one polls; alone: at once; off: it has no version.",
    )

    vault_address: str = Field(
        default="", description="Where the vault listens and is called: unix:/path/vault.sock or http://127.0.0.1:PORT."
    )
    vault_dir: Path | None = Field(default=None, description="Folder of the vault's database and callers' digests.")
    vault_key: Path | None = Field(
        default=None, description="The vault's key file, backed up apart; default: kek.json in DIWAN_VAULT_DIR."
    )
    vault_journal: Path | None = Field(
        default=None,
        description="The journal of destroyed keys, no part of the database's backups; default: destroyed.jsonl in "
        "DIWAN_VAULT_DIR.",
    )
    vault_pkcs11_module: Path | None = Field(
        default=None,
        description="The vendor's PKCS#11 library: the key that wraps the cases' keys is in a token, not in a file.",
    )
    vault_pkcs11_token: str = Field(default="diwan", description="Label of the token, which is this vault's alone.")
    vault_pkcs11_pin: SecretStr | None = Field(default=None, description="PIN of the token's user.")
    vault_token: SecretStr | None = Field(
        default=None, description="Token by which this process is known to the vault."
    )
    vault_eraser_token: SecretStr | None = Field(
        default=None,
        description="The eraser's token: destroys keys of cases. For the worker alone.",
    )

    ledger_origin: str = Field(
        default="diwan.invalid/ledger",
        description="How the log of the ledger is named for ever, as an address of the ministry's without https://; "
        "each year's log has the year after it. Signer and sequencer must say the same.",
    )
    signer_address: str = Field(
        default="",
        description="Where the signer listens and is called: unix:/path/signer.sock or http://127.0.0.1:PORT.",
    )
    signer_dir: Path | None = Field(
        default=None, description="Folder of the signer's keys and memory, apart from the database and its backups."
    )
    signer_token: SecretStr | None = Field(default=None, description="Token by which the sequencer may ask the signer.")
    ledger_witnesses: Path | None = Field(
        default=None,
        description="File (c2sp.org/tlog-policy) of witnesses that the sequencer asks to cosign: `witness NAME VKEY "
        "URL`. These are the only addresses outside the ministry that a process of the ledger calls, and hashes and "
        "signatures all that it sends there; without the file it calls none. A witness without URL is asked by file.",
    )
    witness_dir: Path | None = Field(
        default=None,
        description="Folder of a witness's key and memory (`diwan witness`): an outside party's, never the ministry's.",
    )

    issuer_url: str = Field(default="", description="OIDC issuer whose access tokens are accepted.")
    audience: str = Field(default="diwan", description="Audience (`aud`) that access tokens must name.")

    engine_url: str = Field(
        default="",
        description="The engine beside this pool worker (vLLM's OpenAI protocol), unless DIWAN_ENGINE_WEIGHTS is set. "
        "`diwan up` starts no demo engine where it is set.",
    )
    engine_weights: Path | None = Field(
        default=None,
        description="Folder of the model's weights: `diwan pool serve` starts vLLM on them itself, if their digests "
        "are those of the registry. Where it is not set it asks the server at DIWAN_ENGINE_URL.",
    )
    engine_program: str = Field(default="vllm", description="The program that vLLM is started by, or its path.")
    engine_tensor_parallel: int = Field(
        default=1, ge=1, le=64, description="Devices that the vLLM started here shares the model between."
    )
    engine_args: str = Field(
        default="",
        description="More options for the vLLM started here, of this host alone, as in a shell: "
        "--gpu-memory-utilization 0.9. What concerns the model stands in the registry.",
    )
    engine_batch_invariant: bool | None = Field(
        default=None,
        description="Whether the engine runs in batch-invariant mode, for `diwan case rerun`: slower, and what it "
        "answers does not hang on what else it answers meanwhile. The vLLM started here is started so; of a server at "
        "DIWAN_ENGINE_URL it is your word, and unknown where it is not set.",
    )
    engine_start_s: int = Field(
        default=1_800, ge=10, le=86_400, description="Seconds until the vLLM started here has to serve."
    )
    engine_log: Path | None = Field(
        default=None, description="File that the log of the vLLM started here is appended to; else standard error."
    )
    engine_key: SecretStr | None = Field(default=None, description="Bearer token that the engine wants, if any.")
    engine_ca: Path | None = Field(
        default=None,
        description="PEM file of the authority of the certificate at an https DIWAN_ENGINE_URL, the ministry's own; no "
        "other is trusted then. Else those that the system trusts.",
    )
    engine_model: str = Field(default="", description="Model that this pool worker's engine serves, as registered.")
    engine_room: int = Field(default=4, ge=1, le=512, description="Calls that the engine takes at once.")
    pool_host: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,60}$",
        description="Name of this pool worker's engine in the pool: the same after a restart, so that calls find its "
        "prefix cache, and nobody else's. Made up at each start where it is empty.",
    )
    engine_timeout_s: int = Field(default=300, ge=1, le=3600, description="Seconds that one model call may take.")
    pool_unfair: bool = Field(
        default=False,
        description="Whether a pool worker serves although Temporal ignores which call is urgent, or whose turn it is; "
        "else it tries that when it starts, and ends.",
    )
    registry: Path | None = Field(
        default=None, description="JSON file of registered models and the capabilities that each serves, best first."
    )
    agent_patience_s: int = Field(
        default=900,
        ge=1,
        le=86_400,
        description="Seconds that a model call may wait for a free engine before a person takes over.",
    )
    agent_host_wait_s: int = Field(
        default=10,
        ge=0,
        le=60,
        description="Whole seconds that a later call of an agent run waits for the host which answered the one before "
        "and still holds what both begin with; about as long as a call takes. 0: it goes to any host at once.",
    )

    clock_jump_s: int = Field(
        default=10_800,
        ge=600,
        le=64_800,
        description="Seconds by which the wall clock may move against the machine's steady clock, and machines may "
        "differ; by more, legal dates stand still until a person confirms (`diwan clock`).",
    )
    clock_gap_s: int = Field(
        default=345_600,
        ge=3_600,
        le=2_592_000,
        description="Seconds that the service may have stood still when it starts again after its machine did; after "
        "more, legal dates stand still until a person confirms.",
    )

    uploads_kept_days: int = Field(
        default=7,
        ge=1,
        le=365,
        description="Days that an upload (`POST /v1/documents`) waits for its event; then the relay removes it.",
    )

    webhook_secrets: Path | None = Field(
        default=None, description="Folder with one file for each webhook secret, by its name."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        home = _home()
        config = os.environ.get(f"{PREFIX}CONFIG")
        toml = TomlConfigSettingsSource(settings_cls, Path(config) if config else home / "diwan.toml")
        stack = JsonConfigSettingsSource(settings_cls, home / STACK_FILE)
        environment = {key.lower(): value for key, value in os.environ.items()}
        variables = {key.removeprefix(PREFIX.lower()): value for key, value in environment.items()}
        return (
            init_settings,
            env_settings,
            _SecretFiles(settings_cls, variables, only_files=True),
            _SecretFiles(settings_cls, toml()),
            _SecretFiles(settings_cls, stack()),
        )

    def secret(self, name: str) -> str:
        """The secret `name`, or `InvalidInput` that says how to give it."""
        value = cast("SecretStr | None", getattr(self, name))
        if value is None:
            raise InvalidInput(
                "settings.missing",
                f"{PREFIX}{name.upper()} is not set.",
                f"Set it, or {PREFIX}{name.upper()}_FILE to a file that holds it. On one machine: diwan up.",
            )
        return value.get_secret_value()

    def database_url(self, role: DatabaseRole) -> str:
        """libpq URL for `role`. Raises `InvalidInput` when it is not set."""
        return self.secret(f"database_url_{role}")

    def text(self, name: str) -> str:
        """A setting that this process cannot do without. Raises `InvalidInput` when it is empty."""
        value = getattr(self, name)
        if not value:
            raise InvalidInput("settings.missing", f"{PREFIX}{name.upper()} is not set.", _SEE)
        return str(value)


def is_secret(name: str) -> bool:
    """Whether a setting may be given as a file, and is never shown."""
    return SecretStr in get_args(Settings.model_fields[name].annotation)


class _OfNoStack(Settings):
    """What is set, whatever stack ran in DIWAN_HOME and may have died there."""

    @classmethod
    def settings_customise_sources(cls, *args: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        return super().settings_customise_sources(*args, **sources)[:-1]


def load(*, of_stack: bool = True) -> Settings:
    """The settings of this process. Raises `InvalidInput` that names the setting and repeats no value.

    `of_stack`: what a stack in DIWAN_HOME wrote down of itself counts; not for who starts one.
    """
    config = os.environ.get(f"{PREFIX}CONFIG")
    if config and not Path(config).is_file():
        raise InvalidInput("settings.no_file", f"{PREFIX}CONFIG: there is no file {config}.", "Check the path.")
    try:
        return (Settings if of_stack else _OfNoStack)(home=_home())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = "_".join(str(part) for part in first["loc"][:1])
        raise InvalidInput("settings.invalid", f"{PREFIX}{field.upper()}: {first['msg']}.", _SEE) from None
    except (SettingsError, ValueError) as error:  # neither text is repeated: both may hold a value
        raise InvalidInput(
            "settings.unreadable", f"The settings cannot be read ({type(error).__name__}).", "Check TOML and JSON."
        ) from None
    except OSError as error:
        raise InvalidInput(
            "settings.unreadable", f"{error.filename} cannot be read: {error.strerror}.", "Check its owner and mode."
        ) from None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """`DIWAN_…` variables that no setting has: likely misspelt."""
    named = (key for key in environment if key.startswith(PREFIX))
    return sorted(key for key in named if key != f"{PREFIX}CONFIG" and not _known(key.removeprefix(PREFIX).lower()))


_SEE = "See deploy/settings.md."


def _home() -> Path:
    return Path(os.environ.get(f"{PREFIX}HOME") or default_home()).expanduser().absolute()


def _known(name: str) -> bool:
    return name in Settings.model_fields or _secret_of(name) is not None


def _secret_of(key: str) -> str | None:
    """The secret that `key` names a file of, if it does."""
    stem = key.removesuffix("_file")
    return stem if stem != key and stem in Settings.model_fields and is_secret(stem) else None


class _SecretFiles(PydanticBaseSettingsSource):
    """Values of a source in which `NAME_file` of a secret stands for what that file holds."""

    def __init__(
        self, settings_cls: type[BaseSettings], values: Mapping[str, Any], *, only_files: bool = False
    ) -> None:
        super().__init__(settings_cls)
        self._values = values
        self._only_files = only_files

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in self._values.items():
            secret = _secret_of(key)
            if secret is not None and value:
                found[secret] = _content(key, Path(str(value)))
            elif not self._only_files:
                found.setdefault(key, value)
        return found


def _content(key: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(
            "settings.secret_unreadable",
            f"{PREFIX}{key.upper()}: {path} cannot be read.",
            "Check that it exists and that this user may read it.",
        ) from None
