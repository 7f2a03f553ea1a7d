"""A letter read back by machine and compared with what it was to say: what cannot be read back was not said."""

from __future__ import annotations

import re

import pypdfium2

from diwan.documents.clean import clean
from diwan.documents.compose import Letter, compose
from diwan.documents.extract import extract
from diwan.domain.fold import fold


def missing_from(pdf: bytes, letter: Letter) -> list[str]:
    """Strings of `letter` that its PDF does not give back, in the order of the letter; empty where all is there.

    Compared by folded letters and digits. A reference that stands in a right-to-left line may come back with its parts
    in another order (100001ZZ for ZZ100001), as extractors do; its parts must all be there, side by side.
    """
    readings = texts_of(pdf)
    straight = [_letters(reading) for reading in readings]
    turned = [_turned(reading) for reading in readings]
    return [
        text
        for text in compose(letter).texts()
        if not any(_letters(text) in reading for reading in straight)
        and not any(_turned(text) in reading for reading in turned)
    ]


def texts_of(pdf: bytes) -> tuple[str, str]:
    """The letter's text twice: in the order of the file, and in the order of the page."""
    with pypdfium2.PdfDocument(pdf) as document:
        by_order = "\n".join(clean(str(page.get_textpage().get_text_bounded())) for page in document)
    by_place = "\n".join(page.text for page in extract(pdf, "letter", with_ocr=False).pages)
    return by_order, by_place


def _letters(text: str) -> str:
    return "".join(char for char in fold(text) if char.isalnum())


def _turned(text: str) -> str:
    """As `_letters`, the parts of every stretch of Latin letters and digits in alphabetical order."""
    stretches = re.split(r"([a-z0-9][^\u0600-\u06ff]*)", fold(text))
    return "".join(
        "".join(sorted(re.findall(r"[a-z]+|\d+", part))) if n % 2 else _letters(part)
        for n, part in enumerate(stretches)
    )
