"""Values of facts beside their labels: on the same line, on the line after, or before them in right-to-left text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diwan.domain.fold import fold
from diwan.embedded.demo_engine import lexicon, values
from diwan.embedded.demo_engine.lexicon import FactConcept, phrase_pattern
from diwan.embedded.demo_engine.lines import Line, following, quote_of
from diwan.embedded.demo_engine.task import FactAsked
from diwan.embedded.demo_engine.values import Read, Reader, Value


@dataclass(frozen=True)
class Found:
    value: Value
    quote: str
    document: str
    page: int
    score: float


_READERS: dict[str, Reader] = {
    "price": values.amount,
    "rooms": values.count,
    "identity_number": values.identity,
    "bank_account": values.account,
}
_NOT_A_VALUE = re.compile(r"^[\s:.\-–—/]*$")
_SECTION_END = re.compile(r" ?[;|] ?|, (?=[^\d])|،|\. ")


def concept_of(fact: FactAsked) -> FactConcept | None:
    """By machine name, else by label; a concept of another type of value does not count."""
    label = fold(f"{fact.label}")
    named = [concept for concept in lexicon.FACTS if concept.name.search(fact.name)]
    labelled = [concept for concept in lexicon.FACTS if any(pattern.search(label) for pattern in concept.labels[:24])]
    return next((concept for concept in (*named, *labelled) if concept.type == fact.type), None)


def find_value(fact: FactAsked, lines: Sequence[Line]) -> Found | None:
    """The best candidate of one document, for facts that are not yes or no."""
    concept = concept_of(fact)
    reader = _reader(fact, concept)
    labels = _labels(fact, concept)
    found = [each for index in range(len(lines)) for each in _beside(lines, index, labels, concept, reader)]
    if not found and concept is not None:
        found = list(_unlabelled(lines, concept))
    return max(found, key=lambda each: each.score, default=None)


def _reader(fact: FactAsked, concept: FactConcept | None) -> Reader:
    if concept is not None and concept.key in _READERS:
        return _READERS[concept.key]
    return {"integer": values.integer, "date": values.day}.get(fact.type, _words)


def _words(text: str) -> Read | None:
    """Free text after a label, up to where something else begins."""
    value = _SECTION_END.split(text.strip(" :.-–—"), maxsplit=1)[0].strip(" :.-")
    return (value[:200], value) if len(value) >= 2 and not _NOT_A_VALUE.match(value) else None


def _labels(fact: FactAsked, concept: FactConcept | None) -> list[re.Pattern[str]]:
    """The fact's own label first, whole and without its parenthesis; then those of its concept."""
    own = [fact.label, re.sub(r"\s*\([^)]*\)", "", fact.label)]
    patterns = [phrase_pattern(text) for text in dict.fromkeys(own) if len(fold(text)) > 2]
    return [*patterns, *(concept.labels if concept else ())]


def _beside(
    lines: Sequence[Line],
    index: int,
    labels: Sequence[re.Pattern[str]],
    concept: FactConcept | None,
    reader: Reader,
) -> Iterator[Found]:
    line = lines[index]
    if line.speaks:
        return
    for rank, label in enumerate(labels):
        bonus = 6 * (1 - rank / len(labels))
        if match := label.search(line.folded):
            yield from _around(lines, index, match, concept, reader, bonus)
            return
        if line.backwards and label.search(line.backwards):
            read = reader(line.folded) if reader is not _words else None
            if read and not _avoided(concept, line.backwards):
                yield _found(read, [line], 8 + bonus)
            return


def _around(
    lines: Sequence[Line],
    index: int,
    match: re.Match[str],
    concept: FactConcept | None,
    reader: Reader,
    bonus: float,
) -> Iterator[Found]:
    """Candidates for one label: after it, before it, on the next lines."""
    line = lines[index]
    before, after = line.folded[: match.start()], line.folded[match.end() :]
    if _avoided(concept, before[-40:]) or _part_of_avoided(concept, line.folded, match):
        return
    colon = 3 if re.match(r"\s*[:=]", after) else 0
    if reader is values.count:
        # "3 pièces, 1 salle de bains": the number that counts stands right before, or is the label itself (a dual).
        if read := values.count_at_end(before) or values.count(match[0]):
            yield _found(read, [line], 22 + bonus)
            return
        after = after[:24]
    if read := reader(after):
        if not _avoided(concept, after[: max(0, after.find(read[1]))]):
            yield _found(read, [line], 24 + bonus + colon)
        return
    if reader is not _words and (read := reader(before)):
        yield _found(read, [line], 14 + bonus)
        return
    if reader is not _words or _NOT_A_VALUE.match(after):
        yield from _next_lines(lines, index, concept, reader, bonus)


def _next_lines(
    lines: Sequence[Line], index: int, concept: FactConcept | None, reader: Reader, bonus: float
) -> Iterator[Found]:
    taken = [lines[index]]
    for distance, line in enumerate(following(lines, index, 2)):
        taken.append(line)
        read = reader(line.folded)
        until = line.folded.find(read[1]) if read else len(line.folded)
        if line.speaks or _avoided(concept, line.folded[:until]):
            return
        if read:
            yield _found(read, taken, 16 - 6 * distance + bonus)
            return


def _unlabelled(lines: Sequence[Line], concept: FactConcept) -> Iterator[Found]:
    """Where a document names only one such value, no label is needed."""
    reader = {
        "price": values.amount_with_currency,
        "permit_date": values.day,
        "identity_number": values.identity,
        "bank_account": values.account,
    }.get(concept.key)
    if reader is None:
        return
    candidates: list[Found] = []
    before = ""
    for line in lines:
        read = reader(line.folded)
        if read and not line.speaks:
            until = max(0, line.folded.find(read[1]))
            if not _avoided(concept, f"{before[-60:]} {line.folded[:until]}"):
                candidates.append(_found(read, [line], 1))
        before = line.folded
    if len({each.value for each in candidates}) == 1:
        yield candidates[0]


def _avoided(concept: FactConcept | None, text: str) -> bool:
    return concept is not None and any(pattern.search(text) for pattern in concept.avoid)


def _part_of_avoided(concept: FactConcept | None, text: str, label: re.Match[str]) -> bool:
    """The label is only a word of a phrase for something else: pièce in pièce d'identité."""
    spans = [found.span() for pattern in (concept.avoid if concept else ()) for found in pattern.finditer(text)]
    return any(start < label.end() and label.start() < end for start, end in spans)


def _found(read: Read, lines: Sequence[Line], score: float) -> Found:
    value, text = read
    last = lines[-1]
    return Found(value, quote_of(lines, text), last.document, last.page, score)
