"""Text of incoming documents, page by page, read twice; where the two readings differ, a person is told.

Parses hostile bytes: call it through `diwan.documents.readers`, which gives it a process with bounds.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pypdfium2
from pdfminer.converter import PDFPageAggregator
from pdfminer.pdfinterp import PDFPageInterpreter, PDFResourceManager
from pdfminer.pdfpage import PDFPage
from pydantic import BaseModel, ConfigDict, Field

from diwan.documents import compare, hidden, images, ocr, suspicion
from diwan.documents.clean import MAX_PAGE_TEXT, clean, has_hidden_characters, paginate
from diwan.documents.geometry import lines_of
from diwan.documents.reasons import NotTaken
from diwan.documents.signatures import IMAGES, PDF, decode_text, media_type_of
from diwan.domain.facts import PageText

DOUBTFUL_AGREEMENT = 0.8
MAX_OCR_PAGES = 20


class Doubt(BaseModel):
    """References, dates and amounts of a page that only one of the two readings gives. Personal data."""

    model_config = ConfigDict(frozen=True)

    page: int = Field(ge=1)
    first: tuple[str, ...]
    second: tuple[str, ...]


class Extraction(BaseModel):
    """All pages, readable or not, in order; `unreadable` where no page is readable.

    `flags` are machine names, no personal data: `no_ocr` (a page needs character recognition and there is none
    here), `ocr`, `ocr_layer`, `unreadable_pages`, `doubtful_numbers`, `doubtful_text`, `one_reader`, `text_cut`,
    `instruction_suspected`, `hidden_text`, `reading_failed`.
    """

    model_config = ConfigDict(frozen=True)

    pages: list[PageText]
    unreadable: bool
    unreadable_pages: list[int] = Field(default_factory=list[int])
    doubts: list[Doubt] = Field(default_factory=list[Doubt])
    flags: list[str] = Field(default_factory=list[str])


@dataclass(slots=True)
class _Read:
    """One page as read: `second` is None where there is no second reading to compare with."""

    first: str
    second: str | None = None
    flags: set[str] = field(default_factory=set[str])


def failed() -> Extraction:
    """What is known of a document whose reader died or took too long: nothing; a person reads it."""
    return Extraction(pages=[], unreadable=True, flags=["reading_failed"])


def extract(data: bytes, document_id: str, *, with_ocr: bool = True) -> Extraction:
    """Text of an accepted document. Never raises for what the bytes contain, save MemoryError."""
    try:
        media_type = media_type_of(data)
        if media_type == PDF:
            reads = list(_read_pdf(data, with_ocr))
        elif media_type in IMAGES:
            reads = list(_read_images(data, with_ocr))
        else:
            reads = [_Read(clean(text), flags=_unseen(text)) for text in paginate(decode_text(data))]
    except (NotTaken, pypdfium2.PdfiumError, OSError):
        return failed()
    return _assemble(document_id, reads)


def _unseen(text: str) -> set[str]:
    return {"hidden_text"} if has_hidden_characters(text) else set()


def _assemble(document_id: str, reads: list[_Read]) -> Extraction:
    pages: list[PageText] = []
    doubts: list[Doubt] = []
    unreadable: list[int] = []
    flags: set[str] = set()
    for number, read in enumerate(reads, 1):
        page, doubt = _compare(document_id, number, read)
        pages.append(page)
        if doubt:
            doubts.append(doubt)
        if not compare.is_readable(page.text):
            unreadable.append(number)
            read.flags.add("unreadable_pages")
        if len(page.text) >= MAX_PAGE_TEXT:
            read.flags.add("text_cut")
        flags |= read.flags
    if suspicion.instruction_suspected("\n".join(page.text for page in pages)):
        flags.add("instruction_suspected")
    return Extraction(
        pages=pages,
        unreadable=len(unreadable) == len(pages),
        unreadable_pages=unreadable,
        doubts=doubts,
        flags=sorted(flags),
    )


def _compare(document_id: str, number: int, read: _Read) -> tuple[PageText, Doubt | None]:
    if read.second is None:
        shared = 0.0 if "one_reader" in read.flags else 1.0
        return PageText(document=document_id, page=number, text=read.first, agreement=shared), None
    shared = compare.agreement(read.first, read.second)
    if shared < DOUBTFUL_AGREEMENT:
        read.flags.add("doubtful_text")
    doubt = None
    only_first, only_second = compare.differing_numbers(read.first, read.second)
    if only_first or only_second:
        doubt = Doubt(page=number, first=only_first, second=only_second)
        read.flags.add("doubtful_numbers")
    text = compare.merge(read.first, read.second)
    return PageText(document=document_id, page=number, text=text, second_text=read.second, agreement=shared), doubt


# --- PDF -----------------------------------------------------------------------------------------------------------


def _read_pdf(data: bytes, with_ocr: bool) -> Iterator[_Read]:
    second = _second_reading(data)
    scans = 0
    with pypdfium2.PdfDocument(data) as document:
        for index in range(len(document)):
            page: Any = document[index]
            text_page: Any = page.get_textpage()
            raw = str(text_page.get_text_bounded())
            read = _Read(clean(raw), next(second, None))
            if read.second is None:
                read.flags.add("one_reader")
            if hidden.hidden_text(page, text_page, raw):
                read.flags.add("hidden_text")
            if hidden.has_ocr_layer(page):
                read.flags.add("ocr_layer")
            if not compare.is_readable(read.first) and _has_ink(page):
                scans += 1
                if _can_recognise(read, with_ocr and scans <= MAX_OCR_PAGES):
                    _recognise(read, _picture_of(page))
            yield read
            text_page.close()
            page.close()


def _second_reading(data: bytes) -> Iterator[str]:
    """Pages by position of their glyphs; ends early where pdfminer cannot go on."""
    resources = PDFResourceManager()
    device = PDFPageAggregator(resources, laparams=None)
    interpreter = PDFPageInterpreter(resources, device)
    try:
        for page in PDFPage.get_pages(io.BytesIO(data)):
            interpreter.process_page(page)
            yield clean("\n".join(lines_of(device.get_result())))
    except MemoryError:
        raise
    except Exception:  # pdfminer raises whatever its input makes it raise
        return


def _has_ink(page: Any) -> bool:
    """Whether anything is drawn: a blank page is no scan."""
    return hidden.has_contrast(page.render(scale=0.5).to_pil().convert("L"))


def _picture_of(page: Any) -> Any:
    width, height = page.get_size()
    scale = min(ocr.DPI / 72, (ocr.MAX_PIXELS / max(width * height, 1)) ** 0.5)
    return page.render(scale=scale).to_pil()


# --- scans ---------------------------------------------------------------------------------------------------------


def _can_recognise(read: _Read, with_ocr: bool) -> bool:
    if with_ocr and ocr.languages():
        return True
    read.flags.add("no_ocr")
    return False


def _recognise(read: _Read, picture: Any) -> None:
    """Fill `read` by character recognition."""
    first, second = ocr.read(picture)
    read.first, read.second = clean(first), clean(second)
    read.flags -= {"one_reader"}
    read.flags.add("ocr")


def _read_images(data: bytes, with_ocr: bool) -> Iterator[_Read]:
    image = images.open_image(data)
    for index in range(int(getattr(image, "n_frames", 1)) if image.format == "TIFF" else 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.seek(index)
            images.check_size(image)
            read = _Read("")
            if _can_recognise(read, with_ocr and index < MAX_OCR_PAGES):
                _recognise(read, image)
        yield read
