"""Yes-or-no facts: an explicit yes or no beside a label, else a statement that says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from diwan.domain.fold import fold
from diwan.embedded.demo_engine import lexicon
from diwan.embedded.demo_engine.extract import Found, concept_of
from diwan.embedded.demo_engine.lexicon import PIECES, FactConcept, phrase_pattern
from diwan.embedded.demo_engine.lines import Line, following, quote_of
from diwan.embedded.demo_engine.task import FactAsked

_SENTENCE = 18  # the score from which a candidate is a statement, not a title
# The fact is the contrary of its concept: owns_no_dwelling, not_first_sale, sans logement.
_CONTRARY_NAME = re.compile(r"(?:^|_)(?:no|not|non|never|without)(?:_|$)|_free$")
_IDENTITY_CARD = next(piece for piece in PIECES if piece.key == "identity_card")


def find_boolean(fact: FactAsked, lines: Sequence[Line]) -> list[Found]:
    """The best candidate of one document; where its sentences say both, one for each."""
    concept = concept_of(fact)
    found = list(_answered(fact, concept, lines))
    if not found and concept is not None:
        found = list(_stated(fact, concept, lines))
    found.sort(key=lambda each: -each.score)
    best = {each.value: each for each in reversed(found) if each.score >= _SENTENCE}
    return list(best.values()) or found[:1]


def _answered(fact: FactAsked, concept: FactConcept | None, lines: Sequence[Line]) -> Iterator[Found]:
    """`First sale: yes`, or the answer alone on the next line. The label's sense is the fact's own."""
    labels = [phrase_pattern(fact.label)]
    if concept is not None and not _contrary(fact):
        labels += concept.labels
    for index, line in enumerate(lines):
        match = next((found for label in labels if (found := label.search(line.folded))), None)
        if match is None or line.speaks:
            continue
        after = line.folded[match.end() :]
        answer = _answer(after[:30]) if re.match(r"\s*[:=?.\-]", after) else None
        if answer is not None:
            yield _found(answer, [line], 30)
        elif re.fullmatch(r"[\s:=?.\-]*", after):
            for below in following(lines, index, 1):
                if (answer := _answer(below.folded)) is not None and len(below.folded) < 12:
                    yield _found(answer, [line, below], 25)


def _answer(text: str) -> bool | None:
    yes, no = lexicon.YES.search(text), lexicon.NO.search(text)
    if yes and no:
        return yes.start() < no.start()
    return bool(yes) if yes or no else None


def _stated(fact: FactAsked, concept: FactConcept, lines: Sequence[Line]) -> Iterator[Found]:
    """A sentence, perhaps broken over two lines, that shows the concept to hold or not. No before yes."""
    turn = _contrary(fact)
    for index, line in enumerate(lines):
        if line.speaks:
            continue
        for taken in ([line], [line, *following(lines, index, 1)]):
            text = fold("\n".join(each.raw for each in taken))
            said = _says(concept, text)
            if said is not None:
                yield _found(said is not turn, taken, 20 - len(taken))
                break
    if concept.key == "owns":
        yield from _titled(lines, lexicon.NON_OWNERSHIP, value=turn)
    if concept.key == "national":
        for title in _IDENTITY_CARD.titles:
            yield from _titled(lines[:10], title, value=not turn)


def _says(concept: FactConcept, text: str) -> bool | None:
    if concept.fails and concept.fails.search(text):
        return False
    if concept.holds and concept.holds.search(text):
        return True
    return None


def _titled(lines: Sequence[Line], title: re.Pattern[str], *, value: bool) -> Iterator[Found]:
    """What a document is says something too, if nothing in it says more."""
    for line in lines[:14]:
        if title.search(line.folded) and not line.speaks:
            yield _found(value, [line], 2)


def _contrary(fact: FactAsked) -> bool:
    return _CONTRARY_NAME.search(fact.name) is not None


def _found(value: bool, lines: Sequence[Line], score: float) -> Found:
    return Found(value, quote_of(lines), lines[-1].document, lines[-1].page, score)
