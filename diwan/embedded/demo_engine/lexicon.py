"""What the rules know of documents: titles of pieces, labels of facts, words for yes and no (lexicon.yaml).

A concept is recognised in a procedure by the machine name or the label it has there; everything else here is looked
for in documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

import yaml

from diwan.domain.fold import fold

# Clitics that Arabic writes onto the next word: and, then, with, to, like, the.
_ARABIC = re.compile(r"[\u0600-\u06ff]")
_ARABIC_PREFIX = "(?:[وف]?(?:ال|لل|بال|كال|[بلك])?)"


def phrase_pattern(phrase: str) -> re.Pattern[str]:
    """A folded phrase at word boundaries; Arabic words may carry prefixes, Latin ones a plural s."""
    folded = fold(phrase)
    words = [re.escape(word) for word in folded.split()]
    if re.search(r"[a-z]", folded):
        return re.compile(r"(?<!\w)" + r"[\s:'-]+".join(words) + r"s?(?!\w)")
    return re.compile(r"(?<!\w)" + _ARABIC_PREFIX + rf"\s+{_ARABIC_PREFIX}".join(words) + r"(?!\w)")


@dataclass(frozen=True)
class PieceConcept:
    key: str
    name: re.Pattern[str]
    titles: Sequence[re.Pattern[str]]
    words: Sequence[re.Pattern[str]]


@dataclass(frozen=True)
class FactConcept:
    """`holds` and `fails` are None where the concept is not a yes-or-no one."""

    key: str
    type: str
    name: re.Pattern[str]
    labels: Sequence[re.Pattern[str]]
    avoid: Sequence[re.Pattern[str]]
    holds: re.Pattern[str] | None
    fails: re.Pattern[str] | None


def _phrases(lines: Sequence[str]) -> list[re.Pattern[str]]:
    return [phrase_pattern(phrase) for line in lines for phrase in line.split(" | ")]


def _any_of(patterns: Sequence[str]) -> re.Pattern[str] | None:
    """Before Arabic words a word boundary would miss what is written onto them."""
    opened = [
        pattern.replace(r"\b", r"(?<!\w)[وف]?[بلك]?", 1)
        if pattern.startswith(r"\b") and _ARABIC.search(pattern)
        else pattern
        for pattern in patterns
    ]
    return re.compile("|".join(opened)) if opened else None


def _piece(key: str, entry: Mapping[str, Any]) -> PieceConcept:
    return PieceConcept(key, re.compile(entry["name"]), _phrases(entry["titles"]), _phrases(entry["words"]))


def _fact(key: str, entry: Mapping[str, Any]) -> FactConcept:
    labels, avoid = _phrases(entry["labels"]), _phrases(entry.get("avoid", []))
    return FactConcept(
        key=key,
        type=entry["type"],
        name=re.compile(entry["name"]),
        labels=labels,
        avoid=avoid,
        holds=_any_of(entry.get("holds", [])),
        fails=_any_of(entry.get("fails", [])),
    )


_LEXICON = cast(
    "dict[str, Any]",
    yaml.safe_load(files("diwan.embedded.demo_engine").joinpath("lexicon.yaml").read_bytes()),
)
PIECES = [_piece(key, entry) for key, entry in _LEXICON["pieces"].items()]
OTHERS = PieceConcept("other", re.compile("(?!)"), _phrases(_LEXICON["others"]), [])
FACTS = [_fact(key, entry) for key, entry in _LEXICON["facts"].items()]

YES = re.compile(r"(?<!\w)(?:oui|yes|true|vrai|نعم|اجل|صحيح)(?!\w)")
NO = re.compile(r"(?<!\w)(?:non|no|false|faux|none|neant|aucune?|لا|كلا|لا شيء)(?!\w)")
# The title alone of such a document says already that nothing is owned.
NON_OWNERSHIP = re.compile(
    r"non[- ](?:propriete|ownership)|negati[fv]|no property|no ownership"
    r"|عدم (?:ال)?(?:ملكيه|تملك|امتلاك|توفر)|سلبيه|نفي الملكيه"
)
