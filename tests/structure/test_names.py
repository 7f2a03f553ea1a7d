"""`agents` and `workflows` are names that other distributions claim too: ours are the ones imported."""

from __future__ import annotations

import importlib
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["agents", "workflows", "activities", "diwan"])
def test_our_package_is_imported(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT)


def test_no_dependency_claims_our_names() -> None:
    installed = {str(found.metadata["Name"]).lower().replace("_", "-") for found in distributions()}
    assert installed.isdisjoint({"openai-agents", "llama-index-workflows", "agents", "workflows"})
