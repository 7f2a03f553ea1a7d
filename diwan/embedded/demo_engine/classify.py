"""Which piece each document is: by titles first, by what such documents say second, by the prompt's labels last."""

from __future__ import annotations

import re
from collections.abc import Sequence

from diwan.domain.fold import fold
from diwan.embedded.demo_engine.lexicon import OTHERS, PIECES, PieceConcept
from diwan.embedded.demo_engine.lines import Line
from diwan.embedded.demo_engine.task import Task

UNKNOWN = "unknown"
_TITLE_LINES = 14
_ENOUGH = 4.0
_SMALL_WORDS = frozenset(
    {"des", "les", "une", "aux", "pour", "par", "sur", "d'un", "the", "and", "for", "من", "في", "على"}
)


def classify(task: Task, lines: Sequence[Line]) -> dict[str, str]:
    """Short name → piece, or `unknown`; for every document of the task."""
    concepts = {name: _concept_of(name, label) for name, label in task.pieces.items()}
    found: dict[str, str] = {}
    for document in task.documents:
        own = [line for line in lines if line.document == document]
        scores = {
            piece: _score(concept, own) if concept else _overlap(task.pieces[piece], own)
            for piece, concept in concepts.items()
        }
        best = max(scores, key=lambda piece: scores[piece], default=UNKNOWN)
        enough = max(_ENOUGH, _score(OTHERS, own))
        found[document] = best if scores.get(best, 0) >= enough else UNKNOWN
    return found


def _concept_of(name: str, label: str) -> PieceConcept | None:
    folded = fold(label.split(" — ")[0])
    by_label = [concept for concept in PIECES if any(title.search(folded) for title in concept.titles)]
    if len(by_label) == 1:
        return by_label[0]
    return next((concept for concept in PIECES if concept.name.search(name)), None)


def _score(concept: PieceConcept, lines: Sequence[Line]) -> float:
    """A title alone near the top decides; a title inside a sentence is only a mention."""
    score = 0.0
    for number, line in enumerate(lines):
        for text in filter(None, (line.folded, line.backwards)):
            match = next((found for title in concept.titles if (found := title.search(text))), None)
            if match:
                rest = len(text) - len(match[0])
                alone = max(0.0, 1 - rest / 50) if match.start() < 30 else 0.0
                score += max(1.0, (20 - number) * alone) if number < _TITLE_LINES else 0.5
    whole = " ".join(line.folded for line in lines)
    return score + 1.5 * sum(word.search(whole) is not None for word in concept.words)


def _overlap(label: str, lines: Sequence[Line]) -> float:
    """For a piece of another procedure: how much of its label stands in one line near the top."""
    wanted = {
        word for word in re.findall(r"\w+", fold(label.split(" — ")[0])) if word not in _SMALL_WORDS and len(word) > 2
    }
    if not wanted:
        return 0.0
    shares = [len(wanted & set(re.findall(r"\w+", line.folded))) / len(wanted) for line in lines[:_TITLE_LINES]]
    best = max(shares, default=0.0)
    return 12 * best if best >= 0.6 else 0.0
