"""The registry: capabilities to models, in order, and nothing that does not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from diwan.domain.data import DataClass
from diwan.domain.errors import NotFound
from diwan.domain.text import Language
from diwan.pool.registry import Ability, Model, Registry

ROOT = Path(__file__).resolve().parents[2]


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


def test_a_model_that_says_no_more_may_see_personal_data_but_no_sensitive_ones() -> None:
    made = model("a")
    assert made.data_classes == {DataClass.PUBLIC, DataClass.PERSONAL}
    assert made.abilities == {Ability.TOOLS, Ability.JSON_SCHEMA}
    assert made.sampling.request() == {"temperature": 0, "seed": 1}
    assert made.engine_version == "0.14.1"


@pytest.mark.parametrize(
    "words",
    [
        ("--tokenizer-mode", "mistral"),
        ("--gpu-memory-utilization=0.9", "--max-num-seqs", "64"),
        ("--speculative-config", '{"method": "ngram"}'),
        ("--no-enable-prefix-caching",),
    ],
)
def test_options_of_the_engine_are_an_entrys_own(words: tuple[str, ...]) -> None:
    assert Model.model_validate({**model("a").model_dump(), "engine_args": words}).engine_args == words


@pytest.mark.parametrize(
    "word",
    [
        "--host",
        "--host=0.0.0.0",
        "--hos",
        "--enable_log_requests",
        "--no-enable-prompt-tokens-details",
        "--structured-outputs-config.backend",
        "--api-key=k",
        "-tp",
        "--",
        "--trust-remote-code",
    ],
)
def test_what_would_open_the_engine_or_contradict_us_is_refused(word: str) -> None:
    with pytest.raises(ValidationError, match=r"engine_args"):
        Model.model_validate({**model("a").model_dump(), "engine_args": (word,)})


def test_the_example_has_an_entry_of_each_family_and_marks_its_digests() -> None:
    example = Registry.model_validate_json((ROOT / "deploy" / "registry.example.json").read_bytes())
    families = " ".join(each.family for each in example.models)
    assert [name for name in ("Mistral", "DeepSeek", "Qwen", "gpt-oss") if name not in families] == []
    assert "placeholder" in example.note
    for each in example.models:
        assert len(set(each.weights_digest)) == 1
        assert "placeholder" in each.note
        assert each.tool_parser
