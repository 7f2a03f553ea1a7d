"""Owns how a sample dossier is read: what is sent, what is sent later, what people do, what should come out.

application.json, documents/           as `diwan submit` takes them
follow-ups/NAME.json                   type, when {step}, note, documents {file: piece}; files in follow-ups/documents/
expected.json                          result, amount, grounds, letters, warnings, documents, facts, acts
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from diwan.cli.dossier import Dossier, File, read_dossier, read_file, read_json
from diwan.procedures.examples import example_dossiers, example_names

Json = dict[str, Any]


@dataclass(frozen=True)
class Act:
    """What a person does with a task of this kind. `by` is a demo user."""

    task: str
    by: str
    verb: str
    reason: str
    changes: Json


@dataclass(frozen=True)
class Sending:
    """An event that the applicant sends when the case comes to step `at`."""

    at: str
    type: str
    data: Json
    files: tuple[File, ...]


@dataclass(frozen=True)
class Sample:
    """A sample dossier. `expected` is its expected.json."""

    name: str
    procedure: str
    dossier: Dossier
    acts: tuple[Act, ...]
    sendings: tuple[Sending, ...]
    expected: Json

    @property
    def language(self) -> str:
        return str(self.dossier.application.get("language", ""))


def shipped_samples() -> list[Sample]:
    """Every sample dossier of every shipped procedure."""
    return [read_sample(folder, procedure) for procedure in example_names() for folder in example_dossiers(procedure)]


def read_sample(folder: Path, procedure: str) -> Sample:
    """A sample dossier from its folder. Raises InvalidInput."""
    expected = read_json(folder / "expected.json", "expected.json of the sample")
    follow_ups = sorted((folder / "follow-ups").glob("*.json"))
    return Sample(
        name=folder.name,
        procedure=procedure,
        dossier=read_dossier(folder),
        acts=tuple(_act(item) for item in cast("list[Json]", expected["acts"])),
        sendings=tuple(_sending(path) for path in follow_ups),
        expected=expected,
    )


def _act(item: Json) -> Act:
    return Act(item["task"], item["by"], item["act"], item.get("reason", ""), item.get("changes", {}))


def _sending(path: Path) -> Sending:
    item = read_json(path, "such follow-up")
    mapping = cast("dict[str, str]", item.get("documents", {}))
    files = tuple(read_file(path.parent / "documents" / name, piece) for name, piece in mapping.items())
    return Sending(item["when"]["step"], item["type"], {"note": item["note"]} if item.get("note") else {}, files)
