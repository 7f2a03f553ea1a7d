"""The dossier as an agent sees it: documents by short names, never by ids, file names or what a sender calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

# Set on a document whose text tries to tell an agent what to do (diwan/documents sets it too).
INSTRUCTION_SUSPECTED = "instruction_suspected"


@dataclass(frozen=True)
class SubmittedDocument:
    """`id` as in Postgres; `piece` is what the sender says it is; `unreadable`: no text could be had from it."""

    id: str
    pages: int
    piece: str = ""
    unreadable: bool = False
    flags: tuple[str, ...] = ()


def short_names(documents: Sequence[SubmittedDocument]) -> Mapping[str, SubmittedDocument]:
    """`d1`, `d2`, … → document, in the order given, which must stay the same for a whole run."""
    return {f"d{number}": document for number, document in enumerate(documents, 1)}


def document_list(documents: Sequence[SubmittedDocument]) -> dict[str, JsonValue]:
    """What `documents.list` gives."""
    listed: list[JsonValue] = [
        {"document": name, "pages": document.pages, "readable": not document.unreadable}
        for name, document in short_names(documents).items()
    ]
    return {"documents": listed}
