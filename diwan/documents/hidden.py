"""Text in a PDF that people cannot see and a machine reads: a signal for people, and never a filter."""

from __future__ import annotations

from typing import Any, cast

import pypdfium2.raw as pdfium_c
from PIL import Image

from diwan.documents.clean import has_hidden_characters

_WHITE = 0xE6  # each of red, green, blue from here up: as good as white on paper
_FAINT = 0x20  # opacity below this, of 255
_TINY = 2.4  # points of height; small print is not under 4
_LETTERS = 12  # hidden letters on a page before it counts: a stray artefact has fewer
_MAX_OBJECTS = 4000


def hidden_text(page: Any, text_page: Any, text: str) -> bool:
    """Whether a PDF page (pypdfium2 `PdfPage`, `PdfTextPage`) holds text that people cannot see.

    White or faint on its ground, far too small, beside the page, drawn invisibly without a scan beneath, or
    spelled in Unicode tags.
    """
    return has_hidden_characters(text) or _hidden_letters(page, text_page) >= _LETTERS


def has_ocr_layer(page: Any) -> bool:
    """Whether the page is a picture with invisible text over it: somebody else's character recognition."""
    objects = list(page.get_objects(max_depth=3))[:_MAX_OBJECTS]
    invisible = any(
        item.type == pdfium_c.FPDF_PAGEOBJ_TEXT
        and pdfium_c.FPDFTextObj_GetTextRenderMode(item) == pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE
        for item in objects
    )
    return invisible and any(item.type == pdfium_c.FPDF_PAGEOBJ_IMAGE for item in objects)


def _hidden_letters(page: Any, text_page: Any) -> int:
    width, height = page.get_size()
    objects = list(page.get_objects(max_depth=3, textpage=text_page))[:_MAX_OBJECTS]
    scanned = any(item.type == pdfium_c.FPDF_PAGEOBJ_IMAGE for item in objects)
    rendered: Image.Image | None = None
    hidden = 0
    for item in objects:
        if item.type != pdfium_c.FPDF_PAGEOBJ_TEXT:
            continue
        left, bottom, right, top = item.get_bounds()
        mode = pdfium_c.FPDFTextObj_GetTextRenderMode(item)
        outside = right < 0 or top < 0 or left > width or bottom > height
        unseen = mode == pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE and not scanned
        tiny = 0 < item.get_font_size() * _scale(item) < _TINY
        if not (outside or unseen or tiny):
            if not _pale(item):
                continue
            if rendered is None:
                rendered = cast("Image.Image", page.render(scale=1).to_pil().convert("L"))
            if _stands_out(rendered, (left, height - top, right, height - bottom)):
                continue
        hidden += sum(char.isalpha() for char in str(item.extract()))
    return hidden


def _scale(item: Any) -> float:
    matrix = item.get_matrix()
    return float(max(abs(matrix.d), abs(matrix.b)))


def _pale(item: Any) -> bool:
    red, green, blue, alpha = (pdfium_c.c_uint() for _ in range(4))
    if not pdfium_c.FPDFPageObj_GetFillColor(item, red, green, blue, alpha):
        return False
    return min(red.value, green.value, blue.value) >= _WHITE or alpha.value < _FAINT


def _stands_out(page: Image.Image, box: tuple[float, float, float, float]) -> bool:
    """Whether anything can be seen in `box` of the rendered page: white text on a dark band can."""
    left, top, right, bottom = (round(edge) for edge in box)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(max(right, left + 1), page.width), min(max(bottom, top + 1), page.height)
    return right > left and bottom > top and has_contrast(page.crop((left, top, right, bottom)))


def has_contrast(picture: Image.Image) -> bool:
    """Whether a grey picture holds more than one shade that people tell apart."""
    low, high = cast("tuple[float, float]", picture.getextrema())
    return high - low > 24
