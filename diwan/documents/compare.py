"""Two readings of one page held against each other: what they share, which numbers differ, which line to show."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from diwan.documents.geometry import COLUMN_GAP
from diwan.domain.fold import fold

MIN_LETTERS = 12  # letters and digits on a page before it counts as readable
MAX_GARBLED = 0.2  # share of characters without meaning before it does not

_REFERENCE = re.compile(r"[a-z0-9]+(?:[/.-][a-z0-9]+)*")


def is_readable(text: str) -> bool:
    """Whether a page's text has enough letters and digits, few of them replacements for what was not understood."""
    visible = [char for char in text if not char.isspace()]
    letters = sum(char.isalnum() for char in visible)
    garbled = sum(char == "\ufffd" or unicodedata.category(char) in ("Co", "Cn") for char in visible)
    return letters >= MIN_LETTERS and garbled <= MAX_GARBLED * len(visible)


def _ascii_digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)


def _pieces(token: str) -> str:
    """A token's runs of letters and of digits in alphabetical order: the same however an extractor turned them."""
    return " ".join(sorted(re.findall(r"[^\W\d_]+|\d+", token)))


def numbers_of(text: str) -> Counter[tuple[str, str]]:
    """References, dates and parts of amounts of 2 digits up: (form that ignores order within, as it stands)."""
    tokens = (match[0].upper() for match in _REFERENCE.finditer(_ascii_digits(text).lower()))
    return Counter((_pieces(token), token) for token in tokens if sum(char.isdigit() for char in token) >= 2)


def differing_numbers(first: str, second: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Numbers that only the first reading gives, and only the second; order within a reference does not count."""
    ours, theirs = numbers_of(first), numbers_of(second)
    known_ours, known_theirs = {form for form, _ in ours}, {form for form, _ in theirs}
    return (
        tuple(sorted({token for form, token in ours if form not in known_theirs})),
        tuple(sorted({token for form, token in theirs if form not in known_ours})),
    )


def _words(text: str) -> Counter[str]:
    words = (word.strip(".,;:!?()[]\"'«»-") for word in fold(_ascii_digits(text)).split())
    return Counter(_pieces(word) if any(char.isdigit() for char in word) else word for word in words if word)


def agreement(first: str, second: str) -> float:
    """Share of words that both readings give, 0 to 1; 1 where both are empty."""
    ours, theirs = _words(first), _words(second)
    most = max(ours.total(), theirs.total())
    return 1.0 if most == 0 else (ours & theirs).total() / most


def _letters(line: str) -> str:
    return "".join(sorted(char for char in fold(line) if char.isalnum()))


def _has_right_to_left(line: str) -> bool:
    return any(unicodedata.bidirectional(char) in ("R", "AL") for char in line)


def merge(first: str, second: str) -> str:
    """The first reading; on a page with right-to-left text its lines as the second gives them, where both have the
    same letters. The second reads by position, so references and amounts stand in it as people see them.
    """
    if not _has_right_to_left(first):
        return first
    positioned: dict[str, list[str]] = {}
    for line in second.split("\n"):
        for part in (line, *line.split(COLUMN_GAP)) if COLUMN_GAP in line else (line,):
            positioned.setdefault(_letters(part), []).append(part.strip())
    lines: list[str] = []
    for line in first.split("\n"):
        others = positioned.get(_letters(line)) if line.strip() else None
        lines.append(others.pop(0) if others else line)
    return "\n".join(lines)
