"""A golden set is named by its files, as a shell reckons it; data marked personal are not public."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from diwan.cli import procedure_files
from diwan.domain.errors import InvalidInput, NotFound
from diwan.procedures.examples import example_dossiers
from diwan.procedures.golden import golden_set_digest
from diwan.procedures.load import load_procedure
from tests.procedures.support import NAME, text


@pytest.fixture
def dossiers(tmp_path: Path) -> Path:
    for folder in example_dossiers(NAME)[:2]:
        shutil.copytree(folder, tmp_path / "dossiers" / folder.name)
    return tmp_path / "dossiers"


def with_models(of: str) -> str:
    return text(("retention:", f"models: {{{of}}}\nretention:"))


def test_it_is_what_a_shell_reckons(dossiers: Path) -> None:
    line = "LC_ALL=C; export LC_ALL; find . -type f | sort | xargs -d '\\n' sha256sum | sha256sum"
    done = subprocess.run(["sh", "-c", line], cwd=dossiers, capture_output=True, text=True, check=True)
    assert golden_set_digest(dossiers) == done.stdout.split()[0]


def test_any_change_makes_another_set(dossiers: Path) -> None:
    seen = {golden_set_digest(dossiers)}
    expected = next(dossiers.glob("*/expected.json"))
    expected.write_text(expected.read_text() + " ")
    seen.add(golden_set_digest(dossiers))
    expected.parent.rename(dossiers / "renamed")
    seen.add(golden_set_digest(dossiers))
    (dossiers / "renamed" / "more.txt").write_text("")
    seen.add(golden_set_digest(dossiers))
    assert len(seen) == 4


def test_a_folder_without_dossiers_has_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        golden_set_digest(tmp_path)


def test_lint_doubts_a_set_that_is_not_the_one_beside_the_file(dossiers: Path) -> None:
    file = dossiers.parent / "procedure.yaml"
    file.write_text(with_models(f"golden_set: {golden_set_digest(dossiers)}"))
    assert procedure_files.lint(str(file)) == []
    file.write_text(with_models(f"golden_set: {'0' * 64}"))
    (found,) = procedure_files.lint(str(file))
    assert (found["code"], found["level"]) == ("procedure.models.golden_set", "warning")
    assert "models:" in file.read_text().splitlines()[found["line"] - 1]


@pytest.mark.parametrize("models", ["data_class: secret", "golden_set: latest", "first: mistral", "data_class: public"])
def test_what_says_nothing_or_too_little_is_refused(models: str) -> None:
    with pytest.raises(InvalidInput, match="models"):
        load_procedure(with_models(models))
