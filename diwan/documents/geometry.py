"""The second reading of a PDF page: glyphs by where they stand, lines put into reading order.

What stands on the page decides, not the order in which the file draws it: so an identifier inside a right-to-left
line comes out as people see it (DW-2026-000142), where extractors that undo bidirectional order turn it around.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from pdfminer.layout import LTChar, LTFigure, LTPage

COLUMN_GAP = "   "  # stands between the columns of a line

_CID = re.compile(r"\(cid:\d+\)")
_OPENING, _CLOSING = "([{<«", ")]}>»"
_MIRROR = str.maketrans(_OPENING + _CLOSING, _CLOSING + _OPENING)
# A run that reads left to right: letters and digits with the signs between them, joined by single spaces.
_LTR_RUN = re.compile(r"[LN](?:(?:c*|sc*|c+s)[LN])*")


@dataclass(slots=True)
class _Glyph:
    text: str
    left: float
    right: float
    baseline: float
    size: float


def lines_of(page: LTPage) -> list[str]:
    """Lines of a page from top to bottom, each in logical order; turned text (stamps, watermarks) last."""
    upright: list[_Glyph] = []
    turned: list[str] = []
    for char in _chars(page):
        text = _CID.sub("\ufffd", char.get_text())
        if abs(char.matrix[1]) > 0.1 * abs(char.matrix[0]):
            turned.append(text)
        elif char.x1 > char.x0 or text.strip():
            size = max(char.y1 - char.y0, 0.1)
            upright.append(_Glyph(text, char.x0, char.x1, char.matrix[5], size))
    lines = [_logical(line) for line in _by_baseline(upright)]
    if turned:
        lines.append("".join(turned))
    return [line for line in lines if line.strip()]


def _chars(page: LTPage) -> Iterator[LTChar]:
    stack: list[object] = [page]
    while stack:
        item = stack.pop()
        if isinstance(item, LTChar):
            yield item
        elif isinstance(item, LTPage | LTFigure):
            stack.extend(reversed(list(item)))


def _by_baseline(glyphs: list[_Glyph]) -> list[list[_Glyph]]:
    lines: list[list[_Glyph]] = []
    for glyph in sorted(glyphs, key=lambda g: -g.baseline):
        if lines and abs(lines[-1][0].baseline - glyph.baseline) <= 0.3 * min(glyph.size, lines[-1][0].size):
            lines[-1].append(glyph)
        else:
            lines.append([glyph])
    return lines


def _class_of(text: str) -> str:
    """R, L, N (number), c (a sign within numbers and references), s (space), w (wide gap) or o (other)."""
    kinds = {unicodedata.bidirectional(char) for char in text}
    if kinds & {"R", "AL"}:
        return "R"
    if "L" in kinds:
        return "L"
    if kinds & {"EN", "AN"}:
        return "N"
    if text.isspace():
        return "s"
    return "c" if text in "/-.,:+#_@&%'°٫٬" else "o"


def _units(line: list[_Glyph]) -> list[tuple[str, str]]:
    """(text, class) from left to right: marks joined to their letter, doubles dropped, gaps as spaces."""
    marks = [g for g in line if g.text and all(unicodedata.category(c) == "Mn" for c in g.text)]
    bases = sorted((g for g in line if g not in marks), key=lambda g: (g.left, g.right))
    texts = {id(g): g.text for g in bases}
    for mark in marks:
        if bases:
            middle = (mark.left + mark.right) / 2
            nearest = min(bases, key=lambda g: abs((g.left + g.right) / 2 - middle))
            texts[id(nearest)] += mark.text
    em = median(g.size for g in line)
    units: list[tuple[str, str]] = []
    before: _Glyph | None = None
    for glyph in _without_overlaid_spaces(bases):
        if before is not None:
            shift = glyph.left - before.left
            if glyph.text == before.text and shift < max(0.15 * (before.right - before.left), 0.05 * em):
                continue  # drawn twice to look bold
            gap = glyph.left - before.right
            if gap > 1.2 * em:
                units.append((COLUMN_GAP, "w"))
            elif gap > 0.18 * em and units[-1][1] != "s":
                units.append((" ", "s"))
        kind = _class_of(texts[id(glyph)])
        if kind != "s":
            units.append((texts[id(glyph)], kind))
        elif units and units[-1][1] not in "sw":
            units.append((" ", "s"))
        before = glyph
    return units


def _without_overlaid_spaces(bases: list[_Glyph]) -> list[_Glyph]:
    """A space that a line ends with may be drawn over its last letter."""

    def overlaid(at: int) -> bool:
        middle = (bases[at].left + bases[at].right) / 2
        return any(bases[n].left < middle < bases[n].right for n in (at - 1, at + 1) if 0 <= n < len(bases))

    return [glyph for at, glyph in enumerate(bases) if not (glyph.text.isspace() and overlaid(at))]


def _logical(line: list[_Glyph]) -> str:
    units = _units(line)
    classes = "".join(kind for _, kind in units)
    right = classes.count("R")
    if right == 0:
        return "".join(text for text, _ in units)
    if right >= classes.count("L"):
        return _from_right(units, classes)
    return _embedded(units, classes)


def _from_right(units: list[tuple[str, str]], classes: str) -> str:
    """A right-to-left line: read from its right end, runs of left-to-right letters and numbers kept as they are."""
    pieces: list[str] = []
    at = 0
    for run in _LTR_RUN.finditer(classes):
        pieces.extend(text for text, _ in units[at : run.start()])
        pieces.append("".join(text for text, _ in units[run.start() : run.end()]))
        at = run.end()
    pieces.extend(text for text, _ in units[at:])
    return _brackets("".join(reversed(pieces)))


def _embedded(units: list[tuple[str, str]], classes: str) -> str:
    """A left-to-right line with right-to-left words in it: only these are turned."""
    pieces: list[str] = []
    at = 0
    for run in re.finditer(r"R(?:[^LNw]*R)*", classes):
        pieces.extend(text for text, _ in units[at : run.start()])
        turned = reversed([text for text, _ in units[run.start() : run.end()]])
        pieces.append(_brackets("".join(turned)))
        at = run.end()
    pieces.extend(text for text, _ in units[at:])
    return "".join(pieces)


def _brackets(text: str) -> str:
    """Some files name a bracket as it is meant, some as it is drawn in a line from the right: a closing one that
    comes first was drawn."""
    first = next((char for char in text if char in _OPENING or char in _CLOSING), "")
    return text.translate(_MIRROR) if first in _CLOSING and first else text
