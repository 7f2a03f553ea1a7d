"""PDF files among incoming documents: whether they open, are whole, and hold nothing but pages to read."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from typing import Any, cast

import pypdfium2
import pypdfium2.raw as pdfium_c
from pdfminer.pdfdocument import PDFDocument, PDFEncryptionError
from pdfminer.pdfparser import PDFParser
from pdfminer.pdftypes import PDFStream
from pdfminer.psparser import PSLiteral

from diwan.documents.images import MAX_PIXELS
from diwan.documents.reasons import NotTaken, Reason

MAX_STREAM = 64_000_000  # bytes that one stream (a page's content, a font) may have when inflated
MAX_INFLATED = 160_000_000  # and all of a file's together; pictures are counted in pixels instead
MAX_OBJECTS = 40_000

# Names that make a PDF do something or carry other files, as dictionary keys and as values (PDF 32000-1, 12.6, 7.11).
_ACTIVE = frozenset(
    {"JavaScript", "Launch", "RichMedia", "XFA", "SubmitForm", "ImportData", "GoToE", "GoToR", "Rendition", "3D"}
)
_EMBEDDED = frozenset({"EmbeddedFile", "EmbeddedFiles", "EF", "FileAttachment"})
# The same in bytes that no cross-reference table leads to: a viewer that repairs the file would find them.
_HIDDEN_NAMES = re.compile(rb"/(?:(JavaScript|Launch|RichMedia|SubmitForm|ImportData)|EmbeddedFiles?)(?![A-Za-z0-9])")
_ESCAPED_NAME = re.compile(rb"/[^\s/<>\[\]()%#]*#[0-9A-Fa-f]{2}[^\s/<>\[\]()%]*")


def examine(data: bytes, max_pages: int) -> tuple[int, list[str]]:
    """Number of pages, and flags. Raises NotTaken with the reason."""
    if b"%%EOF" not in data[-2048:]:
        raise NotTaken(Reason.TRUNCATED)
    pages = _count_pages(data, max_pages)  # first: it gives up fast on what is no PDF
    flags = _examine_objects(data)
    _examine_bytes(data)
    return pages, flags


def _count_pages(data: bytes, max_pages: int) -> int:
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        password = getattr(error, "err_code", None) == pdfium_c.FPDF_ERR_PASSWORD
        raise NotTaken(Reason.ENCRYPTED if password else Reason.CORRUPT) from None
    with document:
        pages = len(document)
        if pages < 1:
            raise NotTaken(Reason.CORRUPT)
        if pages > max_pages:
            raise NotTaken(Reason.TOO_MANY_PAGES)
        if pdfium_c.FPDFDoc_GetJavaScriptActionCount(document) > 0:
            raise NotTaken(Reason.ACTIVE_CONTENT)
        if pdfium_c.FPDFDoc_GetAttachmentCount(document) > 0:
            raise NotTaken(Reason.EMBEDDED_FILES)
        for index in {0, pages - 1}:
            try:
                document[index].close()
            except pypdfium2.PdfiumError:
                raise NotTaken(Reason.CORRUPT) from None
    return pages


def _examine_objects(data: bytes) -> list[str]:
    """Walk every object that a cross-reference table names, deciphered and out of object streams."""
    try:
        document = PDFDocument(PDFParser(io.BytesIO(data)))
        for value in _objects(document):
            _check(value)
    except PDFEncryptionError:
        raise NotTaken(Reason.ENCRYPTED) from None
    except (NotTaken, MemoryError):
        raise
    except Exception:  # pdfminer raises whatever its input makes it raise
        raise NotTaken(Reason.CORRUPT) from None
    return ["restricted"] if document.encryption else []


def _objects(document: PDFDocument) -> Iterator[Any]:
    """Objects that stand alone first: the streams that hold the others are then known to be harmless to inflate."""
    inside: list[int] = []
    seen: set[int] = set()
    inflated = 0
    for xref in document.xrefs:
        for number in xref.get_objids():
            if number in seen:
                continue
            seen.add(number)
            if len(seen) > MAX_OBJECTS:
                raise NotTaken(Reason.TOO_COSTLY)
            try:
                stream, _, _ = xref.get_pos(number)
            except KeyError:
                continue
            if stream is not None:
                inside.append(number)
                continue
            value = _get(document, number)
            if isinstance(value, PDFStream):
                inflated += _inflated_size(value)
                if inflated > MAX_INFLATED:
                    raise NotTaken(Reason.BOMB)
            yield value
        yield xref.get_trailer()
    for number in inside:
        yield _get(document, number)


def _get(document: PDFDocument, number: int) -> Any:
    try:
        return document.getobj(number)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # a table may name objects that are not there; viewers treat them as null
        return None


def _check(value: Any) -> None:
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, PDFStream):
            item = item.attrs
        if isinstance(item, dict):
            entries = cast("dict[str, Any]", item)
            for key in entries:
                _check_name(str(key))
            stack.extend(entries.values())
        elif isinstance(item, list):
            stack.extend(cast("list[Any]", item))
        elif isinstance(item, PSLiteral):
            _check_name(str(item.name))


def _check_name(name: str) -> None:
    if name in _ACTIVE:
        raise NotTaken(Reason.ACTIVE_CONTENT)
    if name in _EMBEDDED:
        raise NotTaken(Reason.EMBEDDED_FILES)


def _inflated_size(stream: PDFStream) -> int:
    """Bytes that the stream's deflate filters give; pictures are judged by their pixels and count as nothing."""
    if _name(stream.get("Subtype")) == "Image":
        width, height = stream.get("Width"), stream.get("Height")
        if isinstance(width, int) and isinstance(height, int) and width * height > MAX_PIXELS:
            raise NotTaken(Reason.BOMB)
        return 0
    raw = stream.get_rawdata() or b""
    if stream.decipher and stream.objid is not None:
        raw = stream.decipher(stream.objid, stream.genno or 0, raw, stream.attrs)
    for filter_name, _ in stream.get_filters():
        if _name(filter_name) not in ("FlateDecode", "Fl"):
            break
        raw = _inflate(raw)
    return len(raw)


def _inflate(raw: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        out = inflater.decompress(raw, MAX_STREAM)
    except zlib.error:
        return b""  # damaged streams are common; what cannot be read is found when pages are
    if inflater.unconsumed_tail:
        raise NotTaken(Reason.BOMB)
    return out


def _name(value: Any) -> str:
    return str(value.name) if isinstance(value, PSLiteral) else ""


def _examine_bytes(data: bytes) -> None:
    found = _HIDDEN_NAMES.search(data)
    if found:
        raise NotTaken(Reason.ACTIVE_CONTENT if found[1] else Reason.EMBEDDED_FILES)
    for escaped in _ESCAPED_NAME.finditer(data):
        name = re.sub(rb"#([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), escaped[0])
        if _HIDDEN_NAMES.match(name):
            raise NotTaken(Reason.ACTIVE_CONTENT)
