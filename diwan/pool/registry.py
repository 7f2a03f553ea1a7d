"""Which models serve which capability, in order of preference. A procedure names a capability, never a model."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diwan.domain.errors import NotFound
from diwan.domain.text import Language


class Model(BaseModel):
    """A model as served: `name` is that of /v1/models and of its queue; `family` the base it was trained from.

    `weights_digest` is the SHA-256 (hex) over the weights' files, `licence` an SPDX id or the licence's own name,
    `context_length` in tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._:/-]+$")
    family: str = Field(min_length=1)
    weights_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    engine: str = Field(min_length=1, description="engine and version, e.g. vllm 0.14.1")
    licence: str = Field(min_length=1)
    languages: frozenset[Language]
    context_length: int = Field(gt=0)


class Registry(BaseModel):
    """`capabilities`: capability → names of models, best first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[Model, ...]
    capabilities: dict[str, tuple[str, ...]]

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
