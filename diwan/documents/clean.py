"""Text as it may be shown, stored and given to a model: nothing in it that a reader cannot see."""

from __future__ import annotations

import re
import unicodedata

PAGE_CHARS = 3000  # of a text file's page: about what a printed page holds
MAX_PAGE_TEXT = 60_000  # characters kept of one page; a dense page of print has some 8,000

# Bidi controls, zero-width and other invisible marks, interlinear annotation, tags (used to hide text from people).
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
_TAGS = re.compile("[\U000e0020-\U000e007e]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_PRESENTATION = re.compile("[\ufb00-\ufb06\ufb50-\ufdff\ufe70-\ufefc]+")


def clean(text: str) -> str:
    """`text` without what a reader cannot see; Arabic presentation forms and Latin ligatures become plain letters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\u2028", "\n")
    text = _INVISIBLE.sub("", _CONTROL.sub("", text))
    text = _PRESENTATION.sub(lambda match: unicodedata.normalize("NFKC", match[0]).replace(" ", ""), text)
    text = unicodedata.normalize("NFC", text)
    lines = [line.strip() for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")[:MAX_PAGE_TEXT]


def has_hidden_characters(text: str) -> bool:
    """Whether letters are spelled in Unicode tags, which nobody sees and a model reads."""
    return _TAGS.search(text) is not None


def paginate(text: str) -> list[str]:
    """Pages of a text file: at form feeds, else at the line that passes `PAGE_CHARS`; at least one page."""
    pages: list[str] = []
    for part in text.split("\f"):
        lines: list[str] = []
        size = 0
        for line in part.splitlines():
            for piece in [line[i : i + PAGE_CHARS] for i in range(0, len(line), PAGE_CHARS)] or [""]:
                if lines and size + len(piece) > PAGE_CHARS:
                    pages.append("\n".join(lines))
                    lines, size = [], 0
                lines.append(piece)
                size += len(piece) + 1
        if lines:
            pages.append("\n".join(lines))
    return pages or [""]
