"""With no engine and no pool worker at all, people finish every sample dossier, with `diwan task` alone."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.scenario import by_hand
from tests.scenario.conftest import an_office
from tests.scenario.office import EXAMPLE, Office

SAMPLES = sorted(path.parent for path in EXAMPLE.glob("*/application.json"))


@pytest.fixture(scope="module")
async def unaided() -> AsyncGenerator[Office]:
    async with an_office(without=frozenset({"engine", "pool"}), agent_patience_s=1) as made:
        yield made


@pytest.mark.parametrize("folder", SAMPLES, ids=lambda folder: folder.name)
async def test_every_sample_dossier_can_be_finished_by_people(unaided: Office, folder: Path) -> None:
    office, expected = unaided, json.loads((folder / "expected.json").read_text())
    view = await by_hand.finish(office, folder, await office.submit(folder, f"hand-{folder.name}"))
    assert view["result"] == expected["result"]
    shown = view["proposal"]["assessment"]["amount"] if expected["amount"] else None
    assert shown == expected["amount"]
    assert [letter["kind"] for letter in view["letters"]] == expected["letters"]
    assert "agent_failed.engine_unavailable" in view["proposal"]["warnings"]
