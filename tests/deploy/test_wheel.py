"""The wheel: all that the service needs is in it, and is found there, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import diwan, sys, workflows, agents, activities
from pathlib import Path
where = Path(sys.argv[1])
assert all(Path(found.__file__).is_relative_to(where) for found in (diwan, workflows, agents, activities))
from diwan.procedures.examples import example_names, example_text
from diwan.procedures.load import load_procedure
assert example_names()
for name in example_names():
    load_procedure(example_text(name))
from diwan.store import migrate
assert migrate.migrations_folder().is_relative_to(where), migrate.migrations_folder()
assert migrate.head()
from diwan.documents.typeset import template_version
assert template_version()
from diwan.embedded.demo_registry import demo_registry
assert demo_registry().models
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built and unpacked as an installer would."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("diwan_casework-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def _run(unpacked: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python that finds our packages in the wheel only; libraries where they are."""
    checkout = {str(ROOT), ""}
    libraries = [found for found in sys.path if found.endswith("site-packages")]
    code = "import sys; sys.path[:] = [p for p in sys.path if p not in " + repr(checkout) + "]\n"
    path = ":".join([str(unpacked), *libraries])
    return subprocess.run(
        [sys.executable, "-P", "-S", "-c", code + arguments[0], *arguments[1:]],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def test_procedures_migrations_fonts_and_prompts_are_found_in_it(unpacked: Path) -> None:
    done = _run(unpacked, PROGRAM, str(unpacked))
    assert done.returncode == 0, done.stderr


def test_the_command_starts_from_it(unpacked: Path) -> None:
    done = _run(unpacked, "import sys; sys.argv = ['diwan', '--version']; from diwan.cli.main import run; run()")
    assert done.stdout.startswith("diwan "), done.stderr


def test_it_holds_no_tests_and_no_secrets(unpacked: Path) -> None:
    names = [path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")]
    assert not [
        name for name in names if name.startswith(("tests", "bench", "deploy")) or name.endswith((".pyc", ".env"))
    ]
    assert any(name.endswith("licenses/LICENSE") for name in names)
