"""The demo engine: speaks the protocol, says what it is, reads dossiers that nobody tuned it on, fails on demand."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import yaml

from agents.dossier import SubmittedDocument
from diwan.documents.extract import extract
from diwan.domain.facts import PageText
from diwan.domain.text import Language
from diwan.embedded.demo_engine.examine import examine as demo_examine
from diwan.embedded.demo_engine.task import FactAsked, PageRead, Task
from diwan.procedures.examples import example_dossiers, example_text
from diwan.procedures.load import load_procedure
from tests.embedded.examination import DOSSIERS, HOUSING, Dossier, dossier_of, engine, examine, run

FOLDERS = sorted(path.parent for path in DOSSIERS.glob("*/expected.json"))
ANY_FACTS = {
    "price": "integer", "rooms": "integer", "permit_date": "date", "identity_number": "text", "bank_account": "text",
    "national": "boolean", "owns_dwelling": "boolean", "first_sale": "boolean", "notary": "text", "seats": "integer",
}  # fmt: skip
SINGLE: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "single_documents.yaml").read_text(encoding="utf-8")
)


class Extracted(Dossier):
    """A sample dossier, read as the service reads it, with no word of the sender's."""

    def __init__(self, folder: Path) -> None:
        super().__init__(documents=[])
        paths = sorted([*folder.glob("documents/*"), *folder.glob("follow-ups/documents/*")])
        self._read = {path.name: extract(path.read_bytes(), path.name) for path in paths}

    @property
    def submitted(self) -> list[SubmittedDocument]:
        return [
            SubmittedDocument(name, len(read.pages), unreadable=read.unreadable, flags=tuple(read.flags))
            for name, read in self._read.items()
        ]

    @property
    def pages(self) -> list[PageText]:
        return [page for read in self._read.values() for page in read.pages]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
async def test_dossiers_of_many_hands_are_read_and_every_claim_holds(folder: Path) -> None:
    dossier, language, expected = dossier_of(folder)
    async with engine() as client:
        result = await examine(client, HOUSING, language, dossier)
    assert result.values() == expected
    assert result.conclusion is not None
    assert result.conclusion.rejected == []
    assert set(result.conclusion.pieces) == set(HOUSING.pieces)


@pytest.mark.parametrize("folder", example_dossiers("direct-housing-aid"), ids=lambda folder: folder.name)
async def test_the_shipped_dossiers_are_read_from_their_pdfs(folder: Path) -> None:
    application, expected = (json.loads((folder / name).read_bytes()) for name in ("application.json", "expected.json"))
    async with engine() as client:
        result = await examine(client, HOUSING, Language(application["language"]), Extracted(folder))
    assert result.values() == expected["facts"]["document"]


@pytest.mark.parametrize("document", SINGLE, ids=lambda document: " ".join(document["text"].split())[:40])
async def test_single_documents_are_told_apart_and_read(document: dict[str, Any]) -> None:
    dossier = Dossier([("", [document["text"]])])
    async with engine() as client:
        result = await examine(client, HOUSING, Language(document["language"]), dossier)
    assert result.examination is not None
    assert [reading.piece for reading in result.examination.documents] == [document["piece"]]
    assert result.values() == document["facts"]
    assert result.conclusion is not None
    assert result.conclusion.rejected == []


@pytest.mark.parametrize("language", Language)
async def test_the_language_of_the_instructions_is_not_that_of_the_documents(language: Language) -> None:
    """The same dossiers, told in another language: labels of the documents' own language still count."""
    for folder in FOLDERS:
        dossier, _, expected = dossier_of(folder)
        async with engine() as client:
            result = await examine(client, HOUSING, language, dossier)
        assert result.values() == expected, folder.name


async def test_names_of_files_and_senders_words_play_no_part() -> None:
    dossier, language, expected = dossier_of(FOLDERS[0])
    anonymous = Dossier([("", pages) for _, pages in reversed(dossier.documents)])
    async with engine() as client:
        result = await examine(client, HOUSING, language, anonymous)
    assert result.values() == expected


async def test_every_page_is_read_once_and_the_answer_is_of_the_schema() -> None:
    pages = ["PROMESSE DE VENTE\nPremière page", "Prix : 100 000 DH", "Nombre de pièces : 2"]
    async with engine() as client:
        result = await examine(client, HOUSING, Language.FR, Dossier([("", pages), ("", ["PERMIS D'HABITER"])]))
    assert result.values() == {"price": 100000, "rooms": 2}
    asked = [
        call["function"]["arguments"]
        for message in cast("list[dict[str, Any]]", result.requests[-1]["messages"])
        for call in message.get("tool_calls") or []
        if call["function"]["name"] == "documents_read_page"
    ]
    assert len(asked) == len(set(asked)) == 4
    assert result.examination is not None
    schema = cast("Any", result.requests[-1]["response_format"])["json_schema"]["schema"]
    jsonschema.validate(result.examination.model_dump(mode="json"), schema)


async def test_what_is_in_no_document_is_not_claimed() -> None:
    async with engine() as client:
        result = await examine(client, HOUSING, Language.EN, Dossier([("sale_promise", ["A shopping list: 3 eggs"])]))
    assert result.values() == {}
    assert result.conclusion is not None
    assert result.conclusion.pieces == {}
    assert result.conclusion.warnings == ["piece_not_recognised.sale_promise"]


async def test_it_reads_another_procedure_by_the_labels_it_is_told() -> None:
    text = example_text("direct-housing-aid").replace("direct-housing-aid", "other")
    procedure = load_procedure(text)
    facts = {"seats": procedure.facts["rooms"].model_copy(update={"label": _label("Nombre de places assises")})}
    pieces = {"hall_plan": procedure.pieces["sale_promise"].model_copy(update={"label": _label("Plan de la salle")})}
    source = facts["seats"].source.model_copy(update={"pieces": ["hall_plan"]})
    facts["seats"] = facts["seats"].model_copy(update={"source": source})
    other = procedure.model_copy(update={"facts": facts, "pieces": pieces})
    page = "PLAN DE LA SALLE DES FÊTES\nNombre de places assises : 240\nIssues : 4"
    async with engine() as client:
        result = await examine(client, other, Language.FR, Dossier([("", [page])]))
    assert result.values() == {"seats": 240}


def _label(text: str) -> Any:
    return HOUSING.title.model_copy(update={"ar": text, "fr": text, "en": text})


@pytest.mark.parametrize(
    "line",
    [
        "1" * 3_000 + "a ",
        "12 " * 1_000,
        "n'est inscrit " * 500,
        "Prix : " * 1_000,
        "le 3 mars 2024 " * 500,
        "لم يسبق " * 800,
    ],
    ids=lambda line: line[:12],
)
def test_no_line_takes_long(line: str) -> None:
    """Patterns that go back and forth would let one document stop the engine."""
    facts = [FactAsked(name, kind, ("p",), name, "") for name, kind in ANY_FACTS.items()]
    task = Task(
        "fr", {"p": "promesse de vente"}, facts, {"d1": 1}, "", [PageRead("d1", 1, "Promesse de vente\n" + line * 3)]
    )
    began = time.process_time()
    answer = demo_examine(task)
    assert answer["documents"] == [{"document": "d1", "piece": "p"}]
    assert time.process_time() - began < 4


async def test_a_document_that_gives_orders_is_reported_and_not_obeyed() -> None:
    result = await run("fr-instruction")
    assert result.values()["price"] == 640000
    assert result.conclusion is not None
    assert result.conclusion.warnings == ["instruction_suspected"]
