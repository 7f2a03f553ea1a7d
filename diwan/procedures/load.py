"""From the text of a procedure file to a `Procedure`, or to a list of what is wrong with it, line by line."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from pydantic import ValidationError

from diwan.domain.errors import InvalidInput
from diwan.procedures.crosscheck import crosscheck
from diwan.procedures.findings import Finding, Findings, Path
from diwan.procedures.schema import SCHEMA, Procedure
from diwan.procedures.yaml_source import read

_SHOWN = 20  # problems named in one error


@lru_cache(maxsize=32)
def load_procedure(text: str) -> Procedure:
    """The procedure that `text` declares, checked as a whole: names, types, guards, ways to an end.

    Raises `InvalidInput` (`procedure.yaml`, `procedure.invalid`; `TooLarge` beyond 512 KiB) whose message names line
    and field of each problem. Loaded once a text: what is loaded never changes.
    """
    procedure, found = check_text(text)
    refuse(found.errors)
    assert procedure is not None, "what cannot be read has an error"
    return procedure


def refuse(errors: Sequence[Finding]) -> None:
    """Raises `InvalidInput` (`procedure.invalid`) that names line and field of each of `errors`, if there are any."""
    problems = [str(finding) for finding in errors]
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise InvalidInput(
            "procedure.invalid",
            "\n".join(["The procedure cannot be used:", *problems[:_SHOWN], *more]),
            "Correct these lines and try again.",
        )


def check_text(text: str) -> tuple[Procedure | None, Findings]:
    """As `load_procedure`, but gives what it found; the procedure is None where it could not even be read.

    Raises `InvalidInput` only where the text is not YAML that we take.
    """
    data, lines = read(text)
    found = Findings(lines)
    if not isinstance(data, dict):
        found.error("form", (), "A procedure file is a mapping.", f"It starts with `schema: {SCHEMA}`.")
        return None, found
    try:
        procedure = Procedure.model_validate(data)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            _translate(problem["type"], problem["loc"], problem["msg"], found)
        return None, found
    crosscheck(procedure, found)
    return procedure, found


def hash_of(text: str) -> str:
    """SHA-256, hex, of the file as published (UTF-8)."""
    return hashlib.sha256(text.encode()).hexdigest()


# pydantic's own words, where an analyst needs others.
_WORDS: dict[str, tuple[str, str]] = {
    "missing": ("is missing.", "Add it."),
    "extra_forbidden": ("is not known here.", "Check the spelling, or remove it."),
    "union_tag_not_found": ("needs a `kind`.", "One of act, agent, task, wait, end."),
    "union_tag_invalid": ("has a `kind` that is not known.", "One of act, agent, task, wait, end."),
    "string_type": ("must be text.", "Quote it."),
    "string_pattern_mismatch": ("is not written as it must be.", ""),
}


def _translate(kind: str, loc: tuple[int | str, ...], message: str, found: Findings) -> None:
    path: Path = tuple(part for part in loc if part != "[key]")
    path = _without_tags(path, found)
    words, remedy = _WORDS.get(kind, (f": {message.removeprefix('Value error, ')}.", ""))
    name = path[-1] if path else "the file"
    remedy = remedy or (message if kind == "string_pattern_mismatch" else "")
    found.error(f"field.{kind}", path, f"`{name}` {words}".replace(" :", ":"), remedy)


def _without_tags(path: Path, found: Findings) -> Path:
    """pydantic puts the discriminator's value after a step's name; the file does not."""
    if len(path) > 2 and path[0] == "steps":
        return (*path[:2], *path[3:])
    return path
