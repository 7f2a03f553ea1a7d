"""The catalogue of phrases that letters are made of: one file a language, the same keys and values in each."""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

from diwan.documents.formats import plural_category
from diwan.domain.text import Language

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of a paragraph. `kind`: `text` of a phrase; `id`, set apart and left to right whatever is around;
    `free`, a value whose direction is its own."""

    kind: str
    text: str


Value = str | Run


def identifier(text: str) -> Run:
    return Run("id", text)


def free(text: str) -> Run:
    return Run("free", text)


@cache
def catalogue(language: Language) -> dict[str, Any]:
    text = (TEMPLATES / f"{language.value}.yaml").read_text(encoding="utf-8")
    return cast("dict[str, Any]", yaml.safe_load(text))


def _entry(language: Language, key: str) -> Any:
    entry: Any = catalogue(language)
    for part in key.split("."):
        entry = entry[part]
    return entry


def phrase(language: Language, key: str, **values: Value) -> list[Run]:
    """The phrase of `key` (dotted), its places filled with `values`. Raises KeyError for what is not there."""
    return _fill(str(_entry(language, key)), values)


def plain(language: Language, key: str, **values: Value) -> str:
    return "".join(run.text for run in phrase(language, key, **values))


def counted(language: Language, key: str, count: int, number: str, **values: Value) -> list[Run]:
    """The phrase of `key` in the plural form of `count`, written as `number` at `{n}`; `zero` where it has that."""
    forms: dict[str, str] = _entry(language, key)
    category = "zero" if count == 0 and "zero" in forms else plural_category(language, count)
    return _fill(forms.get(category, forms["other"]), {"n": number, **values})


def _fill(pattern: str, values: dict[str, Value]) -> list[Run]:
    # Only names in braces are replaced; formats and attributes of str.format are never reached by a value.
    runs: list[Run] = []
    for literal, name, _, _ in string.Formatter().parse(pattern):
        if literal:
            runs.append(Run("text", literal))
        if name is not None:
            value = values[name]
            runs.append(value if isinstance(value, Run) else Run("text", value))
    return runs
