"""Whether an incoming document is taken, decided by what it contains and not by what it is called.

Parses hostile bytes: call it through `diwan.documents.readers`, which gives it a process with bounds.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from diwan.documents import images, pdf
from diwan.documents.clean import has_hidden_characters, paginate
from diwan.documents.reasons import MESSAGES, NotTaken, Reason
from diwan.documents.signatures import IMAGES, PDF, TEXT, claimed_types, contains_zip, decode_text, media_type_of
from diwan.domain.text import Localized


class DocumentStatus(StrEnum):
    ACCEPTED = "accepted"
    QUARANTINED = "quarantined"  # kept, never opened again by a reader, an agent or a browser


class Limits(BaseModel):
    """What one document may be. `max_bytes` of the file as received."""

    model_config = ConfigDict(frozen=True)

    max_bytes: int = 20_000_000
    max_pages: int = 200


class Inspected(BaseModel):
    """`media_type` is what the content is (empty where unknown); `reason` is empty where accepted.

    `flags` are machine names: `restricted` (a PDF whose owner forbids copying or printing), `name_differs` (an
    image of another accepted kind than its name says), `hidden_text`.
    """

    model_config = ConfigDict(frozen=True)

    media_type: str
    status: DocumentStatus
    reason: str = ""
    pages: int = 0
    flags: tuple[str, ...] = ()

    @property
    def message(self) -> Localized | None:
        """What the sender can do about it; None where accepted."""
        return MESSAGES[Reason(self.reason)] if self.reason else None


def quarantined(reason: Reason, media_type: str = "") -> Inspected:
    return Inspected(media_type=media_type, status=DocumentStatus.QUARANTINED, reason=reason.value)


def _pages_and_flags(data: bytes, media_type: str, limits: Limits) -> tuple[int, list[str]]:
    if media_type == PDF:
        return pdf.examine(data, limits.max_pages)
    if media_type in IMAGES:
        return images.examine(data, limits.max_pages), []
    text = decode_text(data)
    if not text.strip():
        raise NotTaken(Reason.EMPTY)
    pages = len(paginate(text))
    if pages > limits.max_pages:
        raise NotTaken(Reason.TOO_MANY_PAGES)
    return pages, ["hidden_text"] if has_hidden_characters(text) else []


def inspect(name: str, data: bytes, declared: str = "", limits: Limits | None = None) -> Inspected:
    """Decide on one document. `name` and `declared` (a media type) are only compared with the content.

    Never raises for what the bytes contain, save MemoryError.
    """
    limits = limits or Limits()
    media_type = ""
    try:
        if not data:
            raise NotTaken(Reason.EMPTY)
        if len(data) > limits.max_bytes:
            raise NotTaken(Reason.TOO_LARGE)
        media_type = media_type_of(data)
        claims = claimed_types(name, declared) - {media_type}
        if claims and not (media_type in IMAGES and claims <= IMAGES):
            raise NotTaken(Reason.TYPE_MISMATCH)
        if media_type != TEXT and contains_zip(data):
            raise NotTaken(Reason.POLYGLOT)
        pages, flags = _pages_and_flags(data, media_type, limits)
    except NotTaken as refusal:
        return quarantined(refusal.reason, media_type)
    if claims:
        flags.append("name_differs")
    return Inspected(media_type=media_type, status=DocumentStatus.ACCEPTED, pages=pages, flags=tuple(flags))
