"""multipart/form-data (RFC 7578) as it is taken here: one part `event`, and documents under names of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from diwan.domain.errors import InvalidInput, TooLarge
from diwan.web.api.strict_json import unprintable
from diwan.web.limits import Limits

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

EVENT_PART = "event"
_NAME_LENGTH = 255
_ENCODINGS = (b"", b"binary", b"8bit", b"7bit")


class MalformedMultipart(InvalidInput):
    status = 400


@dataclass(frozen=True)
class Part:
    """A part as sent; `filename` is empty where the sender gave none."""

    content: bytes
    filename: str = ""


@dataclass
class _Arriving:
    headers: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    name: str = ""
    filename: str = ""
    limit: int = 0
    data: bytearray = field(default_factory=bytearray)


async def read_parts(content_type: str, chunks: AsyncIterator[bytes], limits: Limits) -> dict[str, Part]:
    """Part name → part, in the order sent.

    Raises `MalformedMultipart` (400) for what is not such a body, `TooLarge` (413) for a part over its limit or
    more parts than documents are taken.
    """
    reader = _Reader(limits)
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary or len(boundary) > 70:
        raise _malformed("it names no boundary of 1 to 70 characters")
    parser = MultipartParser(boundary, reader.callbacks())
    try:
        async for chunk in chunks:
            parser.write(chunk)
    except FormParserError:
        raise _malformed("a boundary or a part's header is not where it should be") from None
    if not reader.ended:
        raise _malformed("the closing boundary is missing")
    return reader.parts


class _Reader:
    """Collects parts from the parser's callbacks; checks limits as bytes arrive, not afterwards."""

    def __init__(self, limits: Limits) -> None:
        self.parts: dict[str, Part] = {}
        self.ended = False
        self._limits = limits
        self._part = _Arriving()
        self._field = self._value = b""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        self._part = _Arriving()

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._part.headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _on_headers(self) -> None:
        headers = self._part.headers
        if headers.get(b"content-transfer-encoding", b"").strip().lower() not in _ENCODINGS:
            raise _malformed("a part has a Content-Transfer-Encoding; send the bytes as they are")
        disposition, options = parse_options_header(headers.get(b"content-disposition", b"").decode("latin-1"))
        name, filename = _text(options.get(b"name", b"")), _text(options.get(b"filename", b""))
        if disposition != b"form-data" or not name or not _usable(name) or not _usable(filename):
            raise _malformed("a part has no usable name in its Content-Disposition")
        if name in self.parts:
            raise _malformed("two parts have the same name")
        if len(self.parts) > self._limits.documents:
            raise TooLarge(
                "event.too_many_documents",
                f"At most {self._limits.documents} documents are taken with one event.",
                "Send the others with a follow-up event diwan.pieces.supplied.",
            )
        self._part.name, self._part.filename = name, filename
        self._part.limit = self._limits.json_bytes if name == EVENT_PART else self._limits.document_bytes

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.data += memoryview(data)[start:end]
        if len(part.data) > part.limit:
            raise TooLarge(
                "http.part_too_large",
                f"The event is at most {self._limits.json_bytes} bytes, a document {self._limits.document_bytes}.",
                "Split or compress the document and send it again.",
            )

    def _on_part(self) -> None:
        self.parts[self._part.name] = Part(bytes(self._part.data), self._part.filename)
        self._part = _Arriving()

    def _on_end(self) -> None:
        self.ended = True


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("a part's name is not UTF-8") from None


def _usable(name: str) -> bool:
    return len(name) <= _NAME_LENGTH and not unprintable(name) and "\n" not in name and "\r" not in name


def _malformed(what: str) -> MalformedMultipart:
    return MalformedMultipart(
        "http.multipart_malformed",
        f"The multipart/form-data body cannot be read: {what}.",
        "Send one part `event` with the event's JSON, and one part for each document, named in data.documents.",
    )
