"""What is found wrong, or doubtful, in a procedure: one shape for loading and for linting."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

Path = tuple[str | int, ...]


class Level(StrEnum):
    ERROR = "error"  # the procedure cannot be published
    WARNING = "warning"  # it can, but someone should look


class Finding(BaseModel):
    """`place` is a dotted path into the file (`rules.price.when`); `line` counts from 1, 0 where unknown."""

    model_config = ConfigDict(frozen=True)

    level: Level
    code: str
    place: str
    line: int
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        where = ", ".join(filter(None, (f"line {self.line}" if self.line else "", self.place)))
        return f"{where}: {self.message} {self.remedy}".strip()


def dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


class Findings:
    """Collects findings and gives each its line; `lines` maps paths to lines, as the YAML reader gives them."""

    def __init__(self, lines: dict[Path, int] | None = None) -> None:
        self._lines = lines or {}
        self.found: list[Finding] = []

    def line_of(self, path: Path) -> int:
        """The line of `path`, or of what holds it where it is not in the file."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 0)

    def error(self, code: str, path: Path, message: str, remedy: str = "") -> None:
        self._add(Level.ERROR, code, path, message, remedy)

    def warn(self, code: str, path: Path, message: str, remedy: str = "") -> None:
        self._add(Level.WARNING, code, path, message, remedy)

    def _add(self, level: Level, code: str, path: Path, message: str, remedy: str) -> None:
        self.found.append(
            Finding(
                level=level,
                code=f"procedure.{code}",
                place=dotted(path),
                line=self.line_of(path),
                message=message,
                remedy=remedy,
            )
        )

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.found if finding.level is Level.ERROR]


def listed(names: Iterable[object]) -> str:
    """Names for a message: sorted, comma separated, `none` for nothing."""
    return ", ".join(sorted(str(name) for name in names)) or "none"
