"""The registry: capabilities to models, in order, and nothing that does not exist."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from diwan.domain.errors import NotFound
from diwan.domain.text import Language
from diwan.pool.registry import Model, Registry


def model(name: str, *languages: Language) -> Model:
    return Model(
        name=name,
        family="mistral",
        weights_digest="0" * 64,
        engine="vllm 0.14.1",
        licence="Apache-2.0",
        languages=frozenset(languages or Language),
        context_length=32_768,
    )


def test_models_of_a_capability_stay_in_their_order() -> None:
    registry = Registry(
        models=(model("small", Language.FR), model("large")), capabilities={"dossier-reading": ("large", "small")}
    )
    assert registry.capabilities["dossier-reading"] == ("large", "small")
    assert registry.model("small").family == "mistral"


def test_what_is_not_registered_is_not_found() -> None:
    registry = Registry(models=(model("small", Language.FR),), capabilities={"dossier-reading": ("small",)})
    with pytest.raises(NotFound):
        registry.model("large")


@pytest.mark.parametrize(
    "fields",
    [
        {"models": (model("a"), model("a")), "capabilities": {}},
        {"models": (), "capabilities": {"x": ("a",)}},
        {"models": (), "capabilities": {}, "more": 1},
    ],
)
def test_a_registry_that_contradicts_itself_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Registry(**fields)


@pytest.mark.parametrize("change", [{"weights_digest": "latest"}, {"name": "a b"}, {"context_length": 0}])
def test_a_model_is_named_by_its_weights(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Model.model_validate({**model("a").model_dump(), **change})
