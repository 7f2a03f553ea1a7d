"""Pages as lines, each beside the forms in which it is searched, and the parts of a line that hold values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from diwan.domain.fold import fold
from diwan.embedded.demo_engine.task import PageRead

QUOTE_LIMIT = 300
_SHORTEST = 12
_ARABIC = re.compile(r"[\u0600-\u06ff]")


@dataclass(frozen=True)
class Line:
    """`raw` as on the page; quotes are made of it. `speaks`: the line tries to tell the reader what to do."""

    document: str
    page: int
    raw: str

    @cached_property
    def folded(self) -> str:
        return fold(self.raw)

    @cached_property
    def backwards(self) -> str:
        """Arabic that an extractor left in visual order, turned round; empty for other lines."""
        return fold(self.raw[::-1]) if _ARABIC.search(fold(self.raw)) else ""

    @cached_property
    def speaks(self) -> bool:
        return _INSTRUCTION.search(self.folded) is not None


_MACHINE = r"(?:ai|a\.i\.|ia|llm|chatbot|language model|modele de langage|intelligence artificielle)"
_MACHINE_AR = r"(?:ال)?(?:وكيل|مساعد|نموذج|نظام|ذكاء|روبوت)(?: (?:ال)?(?:ذكي|الي|اصطناعي|رقمي))?"
_INSTRUCTION = re.compile(
    "|".join(
        (
            r"\b(?:ignore[zr]?|disregard|forget|oublie[zr]?|override)\b.{0,60}"
            r"\b(?:instruction|consigne|regle|rule|prompt|directive|above|previous|precede)",
            rf"\b{_MACHINE}\b.{{0,40}}\b(?:agent|assistant|systeme?|must|should|doit|devez|vous|you)\b",
            r"\b(?:agent|assistant|systeme?|outil) (?:d'|de )?(?:ia|ai|intelligence artificielle|virtuel)\b",
            r"\b(?:system|developer) ?(?:prompt|message)\b|\bsystem ?:",
            r"\byou (?:are|must|should) (?:now |an? |immediately )?(?:ai|assistant|approve|grant|set|answer|report)",
            r"\bvous devez (?:accorder|approuver|valider|indiquer|repondre|considerer)\b",
            r"\bnote (?:to|for|a|pour) (?:the |l'|le )?(?:agent|assistant|ai|ia|model|modele|systeme?)\b",
            r"(?:تجاهل|اهمل|انس|تغاض).{0,60}(?:تعليم|توجيه|قواعد|سبق|الاوامر)",
            rf"(?:ايها|ايتها|الي|علي) {_MACHINE_AR}.{{0,60}}(?:يجب|عليك|وافق|اقبل|امنح|اعتبر|اكتب|سجل)",
        )
    )
)


def lines_of(pages: Sequence[PageRead]) -> list[Line]:
    """Lines with something in them, in reading order; of a page read twice, both readings."""
    found: list[Line] = []
    for page in pages:
        for text in (page.text, page.second):
            found.extend(Line(page.document, page.page, raw.strip()) for raw in text.splitlines() if raw.strip())
    return found


def following(lines: Sequence[Line], index: int, most: int) -> Iterator[Line]:
    """Up to `most` next lines of the same page."""
    for line in lines[index + 1 : index + 1 + most]:
        if line.page != lines[index].page or line.document != lines[index].document:
            return
        yield line


def says_enough(quote: str) -> bool:
    """Shorter quotes are found on any page, and are no evidence anywhere."""
    folded = fold(quote)
    return len(folded.replace(" ", "")) >= _SHORTEST and " " in folded


def widened(quote: str, lines: Sequence[Line]) -> str:
    """The quote, with lines before or after it (of the page that `lines` are) until it says enough."""
    own = quote.split("\n")
    raws = [line.raw for line in lines]
    at = next((n for n in range(len(raws)) if raws[n : n + len(own)] == own), None)
    if at is None:
        return quote
    first, last = at, at + len(own)
    while not says_enough("\n".join(raws[first:last])) and (first > 0 or last < len(raws)):
        first, last = (first - 1, last) if first > 0 else (first, last + 1)
    return "\n".join(raws[first:last])


def quote_of(lines: Sequence[Line], value: str = "") -> str:
    """The lines as they stand; where that is too long, the words around `value` (folded) in the last of them."""
    quote = "\n".join(line.raw for line in lines)
    if len(quote) <= QUOTE_LIMIT:
        return quote
    words = lines[-1].raw.split()
    at = next((n for n, word in enumerate(words) if fold(word) and fold(word) in value), 0)
    for reach in range(24, 0, -1):
        part = " ".join(words[max(0, at - reach) : at + reach + 1])
        if len(part) <= QUOTE_LIMIT:
            return part
    return words[at][:QUOTE_LIMIT]
