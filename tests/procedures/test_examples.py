"""The shipped procedure and its dossiers: what stands in them gives the results that they promise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from diwan.documents.extract import Extraction, extract
from diwan.domain.case import Result
from diwan.domain.errors import NotFound
from diwan.domain.event import FOLLOW_UP_TYPES
from diwan.domain.facts import Fact, Provenance
from diwan.domain.fold import find_dates, fold
from diwan.domain.party import Party
from diwan.domain.task import TaskAct, TaskKind
from diwan.domain.text import Language
from diwan.procedures.assess import assess, view_of
from diwan.procedures.examples import example_dossiers, example_names, example_text
from diwan.procedures.form import check_answers, declared_facts
from diwan.procedures.lint import lint
from diwan.procedures.simulate import simulate
from diwan.procedures.steps import ActStep
from diwan.procedures.values import read_value
from tests.procedures.support import DAY, NAME, NOW, fact, office, sample

DOSSIERS = example_dossiers(NAME)
EACH = pytest.mark.parametrize("folder", DOSSIERS, ids=lambda folder: folder.name)


def read(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def papers(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.glob("**/documents/*.pdf")}


def facts_of(folder: Path, *, supplied: bool) -> list[Fact]:
    """Declared, as documents show (those that have come), and as the register says."""
    application, expected = read(folder, "application.json"), read(folder, "expected.json")
    there = {
        piece for name, piece in expected["documents"].items() if supplied or (folder / "documents" / name).exists()
    }
    shown = [
        fact(name, read_value(sample().facts[name].type, value))
        for name, value in expected["facts"]["document"].items()
        if there.intersection(sample().facts[name].source.pieces)
    ]
    register = [fact(name, value, Provenance.REGISTRY) for name, value in expected["facts"]["registry"].items()]
    return [*declared_facts(sample(), application["answers"], DAY), *shown, *register]


def pieces_of(folder: Path, *, supplied: bool) -> dict[str, str]:
    documents = read(folder, "expected.json")["documents"]
    return {
        piece: name
        for name, piece in documents.items()
        if piece and (supplied or (folder / "documents" / name).exists())
    }


def set_by_people(expected: dict[str, Any]) -> list[Fact]:
    return [
        fact(name, read_value(sample().facts[name].type, value), by_person=True)
        for act in expected["acts"]
        for name, value in act.get("changes", {}).items()
    ]


def test_the_sample_is_clean() -> None:
    assert lint(example_text(NAME)) == []


def test_names_and_strangers() -> None:
    assert NAME in example_names()
    with pytest.raises(NotFound):
        example_text("../../pyproject.toml")


def test_there_are_dossiers_of_every_kind() -> None:
    assert len(DOSSIERS) >= 8
    results = {read(folder, "expected.json")["result"] for folder in DOSSIERS}
    assert {"granted", "refused", "withdrawn"} <= results
    assert {read(folder, "application.json")["language"] for folder in DOSSIERS} == {"ar", "fr", "en"}


@EACH
def test_an_application_is_what_intake_takes(folder: Path) -> None:
    application = read(folder, "application.json")
    assert set(application) <= {"procedure", "reference", "language", "parties", "answers", "documents"}
    assert application["procedure"] == NAME
    assert check_answers(sample(), application["answers"]) == []
    parties = TypeAdapter(list[Party]).validate_python(application["parties"])
    assert all(re.search(r"خيال|fictive|invented", party.name) for party in parties)
    Language(application["language"])
    for name, piece in application.get("documents", {}).items():
        assert (folder / "documents" / name).exists()
        assert piece in sample().pieces
    for path in sorted(folder.glob("follow-ups/*.json")):
        follow_up = json.loads(path.read_text(encoding="utf-8"))
        assert follow_up["type"] in FOLLOW_UP_TYPES
        assert follow_up["when"]["step"] in sample().steps
        assert all((folder / "follow-ups" / "documents" / name).exists() for name in follow_up.get("documents", {}))


@EACH
def test_what_a_dossier_promises_is_well_formed(folder: Path) -> None:
    expected = read(folder, "expected.json")
    assert set(expected["documents"]) == set(papers(folder))
    for act in expected["acts"]:
        TaskKind(act["task"])
        TaskAct(act["act"])
        assert act["act"] == "approve" or act["reason"]
        for name, value in act.get("changes", {}).items():
            read_value(sample().facts[name].type, value)


@EACH
def test_the_rules_give_what_the_dossier_promises(folder: Path) -> None:
    expected = read(folder, "expected.json")
    unreadable = expected["at_first"]["unreadable_pieces"]
    first = assess(sample(), facts_of(folder, supplied=False), pieces_of(folder, supplied=False), unreadable)
    assert first.missing_pieces == expected["at_first"]["missing_pieces"]
    assert first.unreadable_pieces == unreadable
    assert [conflict.fact for conflict in first.conflicts] == expected["at_first"]["conflicts"]
    if any(expected["at_first"].values()):
        assert first.result is None

    asked = int("request_for_pieces" in expected["letters"])
    facts = [*facts_of(folder, supplied=True), *set_by_people(expected)]
    last = assess(sample(), facts, pieces_of(folder, supplied=True), unreadable, pieces_requested=asked)
    if expected["result"] == "withdrawn":
        assert last.result is Result.GRANTED  # had it not been withdrawn
    else:
        assert last.result == expected["result"]
        assert last.amount == expected["amount"]
        assert last.grounds == expected["grounds"]
    assert view_of(last)["undetermined"] is False


@EACH
def test_the_letters_are_those_of_the_way_it_takes(folder: Path) -> None:
    expected = read(folder, "expected.json")
    outcomes = {"review": ["diwan.application.withdrawn"]} if expected["result"] == "withdrawn" else {}
    facts = [*facts_of(folder, supplied=True), *set_by_people(expected)]
    pieces = pieces_of(folder, supplied=False)
    story = simulate(sample(), facts, pieces, outcomes, now=NOW, calendar=office())
    steps = [sample().steps[each.step] for each in story]
    assert [step.letter.value for step in steps if isinstance(step, ActStep)] == expected["letters"]
    assert story[-1].result == expected["result"]


# --- the papers -----------------------------------------------------------------------------------------------------


def extraction(path: Path) -> Extraction:
    return extract(path.read_bytes(), "d", with_ocr=False)


@EACH
def test_papers_are_small_marked_and_readable_twice(folder: Path) -> None:
    """What the facts rest on can be read back by both readers, in the order in which people read it."""
    expected = read(folder, "expected.json")
    for name, path in papers(folder).items():
        assert path.stat().st_size <= 60_000
        piece = expected["documents"][name]
        found = extraction(path)
        if piece in expected["at_first"]["unreadable_pieces"]:
            assert found.unreadable
            continue
        for text in (found.pages[0].text, found.pages[0].second_text):
            folded = fold(text)
            assert re.search(fold("نموذج|specimen"), folded)
            for fact_name in sample().facts_of_piece(piece):
                stands_in(fact_name, expected["facts"]["document"].get(fact_name), folded, name)


def stands_in(fact_name: str, value: object, folded: str, where: str) -> None:
    if fact_name == "identity_number":
        assert str(value).casefold() in folded.replace(" ", ""), where
    elif fact_name == "permit_date":
        assert date.fromisoformat(str(value)) in find_dates(folded), where
    elif fact_name == "price":
        assert re.search(rf"\b{value}\b", folded), where


@EACH
def test_only_the_paper_that_gives_orders_is_suspected(folder: Path) -> None:
    flagged = {name for name, path in papers(folder).items() if "instruction_suspected" in extraction(path).flags}
    assert bool(flagged) is ("instruction_suspected" in read(folder, "expected.json")["warnings"])


def test_papers_are_made_from_their_sources(tmp_path: Path) -> None:
    """The same sources give the same bytes; a PDF that nobody can make again has no place here.

    Of the scan only the size is compared: JPEG encoders differ by a bit from processor to processor.
    """
    root = Path(__file__).resolve().parents[2]
    made = subprocess.run(
        [sys.executable, str(root / "tools" / "make_dossiers.py"), "--into", str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    for folder in DOSSIERS:
        for path in papers(folder).values():
            again = tmp_path / path.relative_to(folder.parent)
            if "scanne" in path.name:
                assert abs(again.stat().st_size - path.stat().st_size) < 500
            else:
                assert again.read_bytes() == path.read_bytes(), path.name
