"""A letter read back by machine and compared with what it was to say: what cannot be read back was not said."""

from __future__ import annotations

import re

import pypdfium2

from diwan.documents.clean import clean
from diwan.documents.compose import Letter, compose
from diwan.documents.extract import extract
from diwan.documents.sheet import Sheet
from diwan.domain.fold import fold


def missing_from(pdf: bytes, letter: Letter) -> list[str]:
    """Strings of `letter` that its PDF does not give back, in the order of the letter; empty where all is there.

    Compared by folded letters and digits. A reference that stands in a right-to-left line may come back with its
    parts in another order (100001ZZ for ZZ100001), as extractors do; its parts must all be there, side by side.
    """
    sheet = compose(letter)
    readings = [_without_furniture(reading, sheet) for reading in (_by_order(pdf), _by_place(pdf))]
    straight = [_letters(reading) for reading in readings]
    turned = [_turned(reading) for reading in readings]
    return [
        text
        for text in sheet.texts()
        if not any(_letters(text) in reading for reading in straight)
        and not any(_turned(text) in reading for reading in turned)
    ]


def text_of(pdf: bytes) -> str:
    """The letter's text as people see it, pages after another."""
    return "\n".join(_by_place(pdf))


def _by_place(pdf: bytes) -> list[str]:
    return [page.text for page in extract(pdf, "letter", with_ocr=False).pages]


def _by_order(pdf: bytes) -> list[str]:
    with pypdfium2.PdfDocument(pdf) as document:
        return [clean(str(page.get_textpage().get_text_bounded())) for page in document]


def _without_furniture(pages: list[str], sheet: Sheet) -> str:
    """Pages joined without what stands on each: a paragraph that goes on over the page is then in one piece."""
    kept: list[str] = []
    for number, page in enumerate(pages, 1):
        footer = sheet.footer.replace("{page}", str(number)).replace("{pages}", str(len(pages)))
        furniture = {footer, sheet.footer_reference, sheet.footer_reference + footer, sheet.specimen}
        known = {_in_any_order(text) for text in furniture}
        kept += [line for line in page.split("\n") if _in_any_order(line) not in known]
    return "\n".join(kept)


def _in_any_order(text: str) -> str:
    return "".join(sorted(_letters(text)))


def _letters(text: str) -> str:
    return "".join(char for char in fold(text) if char.isalnum())


def _turned(text: str) -> str:
    """As `_letters`, the parts of every stretch of Latin letters and digits in alphabetical order."""
    stretches = re.split(r"([a-z0-9][^\u0600-\u06ff]*)", fold(text))
    return "".join(
        "".join(sorted(re.findall(r"[a-z]+|\d+", part))) if n % 2 else _letters(part)
        for n, part in enumerate(stretches)
    )
