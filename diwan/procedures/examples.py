"""The procedures that travel with the package, each with sample dossiers; from a checkout and from a wheel alike."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from diwan.domain.errors import NotFound


def _root() -> Path:
    return Path(str(files("diwan").joinpath("examples")))


def example_names() -> list[str]:
    """Names of the shipped procedures."""
    return sorted(path.parent.name for path in _root().glob("*/procedure.yaml"))


def example_text(name: str) -> str:
    """The YAML of a shipped procedure. Raises `NotFound`."""
    return (_folder(name) / "procedure.yaml").read_text(encoding="utf-8")


def example_dossiers(name: str) -> list[Path]:
    """Folders of the sample dossiers of a shipped procedure, in order of their numbers. Raises `NotFound`."""
    return sorted(path.parent for path in _folder(name).glob("dossiers/*/application.json"))


def _folder(name: str) -> Path:
    if name not in example_names():
        raise NotFound("example.unknown", "No such procedure is shipped.", f"There are: {', '.join(example_names())}.")
    return _root() / name
