"""Which models serve which capability, in order of preference. A procedure names a capability, never a model.

A model is data: what it is (digests), what it may see, how vLLM is to serve it and how it is asked. Another family of
weights is another entry here, no code.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from agents.sampling import GREEDY, Sampling
from diwan.domain.data import DataClass
from diwan.domain.errors import NotFound
from diwan.domain.tenant import OutsideAddress
from diwan.domain.text import Language
from diwan.pool.perimeter import network_or_name

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

# What `diwan pool serve` itself says to vLLM, what would open the server to others, and what writes prompts into a log.
NOT_IN_ARGUMENTS = (
    *("host", "port", "uds", "grpc", "headless", "model", "served-model-name", "config", "tokenizer", "revision"),
    *("max-model-len", "quantization", "tensor-parallel-size", "enable-auto-tool-choice", "tool-call-parser"),
    *("reasoning-parser", "chat-template", "generation-config", "max-num-queued-reqs", "structured-outputs-config"),
    *("enable-prompt-tokens-details", "fingerprint-mode", "fingerprint-value", "api-key", "ssl-keyfile", "root-path"),
    *("enable-log-requests", "enable-log-outputs", "max-log-len", "log-config-file", "otlp-traces-endpoint"),
    *("middleware", "allowed-origins", "allowed-local-media-path", "allowed-media-domains", "enable-sleep-mode"),
    *("enable-lora", "tool-parser-plugin", "reasoning-parser-plugin", "trust-remote-code", "hf-token"),
    *("trust-request-chat-template", "trust-request-mm-kwargs", "override-generation-config", "logging-config"),
    *("default-chat-template-kwargs", "quantization-config", "tokenizer-revision", "code-revision", "lora-modules"),
    *("enable-log-deltas", "enable-tokenizer-info-endpoint", "enable-scale-out", "kv-transfer-config"),
    *("kv-events-config", "ec-transfer-config", "weight-transfer-config", "profiler-config", "tool-server"),
    *("io-processor-plugin", "download-dir", "help"),
)


def _harmless(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if not word.startswith("-"):
            continue
        option = word.partition("=")[0].partition(".")[0].replace("_", "-").removeprefix("--").removeprefix("no-")
        # vLLM takes an option's beginning for the whole of it.
        if not word.startswith("--") or any(taken.startswith(option) for taken in NOT_IN_ARGUMENTS):
            raise ValueError(f"{word.partition('=')[0]}: Diwan says this itself, or it is unsafe, or it is no option")
    return words


# Options of `vllm serve`, word by word, that neither open the server nor contradict what Diwan itself says to it.
EngineArguments = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...], Field(max_length=64), AfterValidator(_harmless)
]


def _inside(text: str) -> str:
    network_or_name(text)
    return text


class Ability(StrEnum):
    """`json_schema`: answers inside a schema; `tools`: asks for tools in a form that vLLM's parser knows."""

    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    VISION = "vision"


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ChatTemplate(_Declared):
    """A template other than the one beside the weights: it decides what the model reads, so its bytes are named.

    `file` is a path on the engine's host, from the folder of the weights where it is relative; `digest` its SHA-256.
    """

    file: str = Field(min_length=1, max_length=400)
    digest: Digest


class GoldenSet(_Declared):
    """The dossiers of a procedure that a model was judged by: `digest` as `diwan procedure golden` prints it."""

    procedure: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    digest: Digest


class Model(_Declared):
    """A model as served: `name` is that of /v1/models and of its queue; `family` the base it was trained from.

    `weights_digest` is the SHA-256 (hex) over the weights' files and `tokenizer_digest` that of the tokenizer's, as
    `diwan pool digest` prints them (diwan/pool/digests.py); `licence` an SPDX id or the licence's own name;
    `context_length` in tokens. `data_classes` are those that it may be shown. `tool_parser` and `reasoning_parser` are
    vLLM's names; `engine_args` more of its options. `passed`: the golden sets that it passed as registered here.
    `note` is for people.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._:/-]+$")
    family: str = Field(min_length=1)
    weights_digest: Digest
    tokenizer_digest: Digest | None = None
    engine: str = Field(min_length=1, description="engine and version, e.g. vllm 0.32.0")
    licence: str = Field(min_length=1)
    languages: frozenset[Language]
    context_length: int = Field(gt=0)
    abilities: frozenset[Ability] = frozenset({Ability.TOOLS, Ability.JSON_SCHEMA})
    data_classes: frozenset[DataClass] = frozenset({DataClass.PUBLIC, DataClass.PERSONAL})
    tool_parser: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]*$")
    reasoning_parser: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]*$")
    chat_template: ChatTemplate | None = None
    quantization: str = Field(default="", pattern=r"^[a-z0-9_-]*$")
    engine_args: EngineArguments = ()
    sampling: Sampling = GREEDY
    passed: frozenset[GoldenSet] = frozenset()
    note: str = ""

    @property
    def engine_version(self) -> str:
        """The version in `engine`; empty where it names none."""
        return self.engine.partition(" ")[2].strip()


class Registry(_Declared):
    """`capabilities`: capability → names of models, best first.

    `perimeter`: networks and names of hosts where engines are inside, beside loopback and the private networks.
    `outside`: addresses (https) of engines outside that may be used for ministries whose own policy names them.
    """

    models: tuple[Model, ...]
    capabilities: dict[str, tuple[str, ...]]
    perimeter: tuple[Annotated[str, AfterValidator(_inside)], ...] = ()
    outside: tuple[OutsideAddress, ...] = ()
    note: str = ""

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise ValueError("two models have the same name")
        for capability, listed in self.capabilities.items():
            if missing := set(listed) - set(names):
                raise ValueError(f"capability {capability} names unknown models: {', '.join(sorted(missing))}")
        return self

    def model(self, name: str) -> Model:
        """Raises `NotFound`."""
        for model in self.models:
            if model.name == name:
                return model
        raise NotFound("pool.unknown_model", "No such model is registered.", "See `diwan pool status`.")
