"""What a conversation asks for, read out of its messages as a model would have to: procedure, documents, pages.

Nothing else is known here: no database, no file, no procedure but the one in the system message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

_FACT = re.compile(r"^- `(?P<name>\w+)` \((?P<type>\w+); (?P<pieces>[^)]*)\): (?P<label>.*)$", re.MULTILINE)
_PIECE = re.compile(r"^- `(?P<name>\w+)`: (?P<label>.*)$", re.MULTILINE)
_TICKED = re.compile(r"`(\w+)`")
_DOCUMENT = re.compile(r"^\{.*\"document\".*\}$", re.MULTILINE)
_ARABIC = re.compile(r"[\u0600-\u06ff]")
_FRENCH = re.compile(r"[éèêàç]|\bvous\b")


@dataclass(frozen=True)
class FactAsked:
    name: str
    type: str
    pieces: tuple[str, ...]
    label: str
    description: str


@dataclass(frozen=True)
class PageRead:
    document: str
    page: int
    text: str
    second: str = ""


@dataclass
class Task:
    """`language` is that of the instructions: ar, fr or en. `documents`: short name → number of pages readable."""

    language: str = "en"
    pieces: dict[str, str] = field(default_factory=dict[str, str])
    facts: list[FactAsked] = field(default_factory=list[FactAsked])
    documents: dict[str, int] = field(default_factory=dict[str, int])
    identity_number: str = ""
    pages: list[PageRead] = field(default_factory=list[PageRead])
    called: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])


def read_task(messages: Sequence[dict[str, Any]]) -> Task:
    """Messages of a chat request → what they ask. Missing parts stay empty."""
    task = Task()
    for message in messages:
        content = str(message.get("content") or "")
        match message.get("role"):
            case "system":
                _read_procedure(task, content)
            case "user":
                _read_documents(task, content)
            case "assistant":
                _note_calls(task, message)
            case "tool":
                _read_result(task, content)
            case _:
                pass
    return task


def _read_procedure(task: Task, content: str) -> None:
    if _ARABIC.search(content):
        task.language = "ar"
    elif _FRENCH.search(content):
        task.language = "fr"
    for match in _FACT.finditer(content):
        label, _, description = match["label"].partition(" — ")
        pieces = tuple(_TICKED.findall(match["pieces"]))
        task.facts.append(FactAsked(match["name"], match["type"], pieces, label, description))
    task.pieces.update({match["name"]: match["label"] for match in _PIECE.finditer(content)})


def _read_documents(task: Task, content: str) -> None:
    for match in _DOCUMENT.finditer(content):
        _note_document(task, _json(match[0]))
    for line in content.splitlines():
        before, colon, value = line.rpartition(": ")
        if colon and before and value.startswith('"') and value.endswith('"') and not task.identity_number:
            task.identity_number = str(_json(value) or "")


def _note_document(task: Task, item: object) -> None:
    if isinstance(item, dict):
        entry = cast("dict[str, Any]", item)
        name, pages = entry.get("document"), entry.get("pages")
        if isinstance(name, str) and isinstance(pages, int):
            task.documents[name] = pages if entry.get("readable", True) else 0


def _note_calls(task: Task, message: dict[str, Any]) -> None:
    for call in cast("list[dict[str, Any]]", message.get("tool_calls") or []):
        function = cast("dict[str, Any]", call.get("function") or {})
        task.called.add((str(function.get("name")), str(function.get("arguments"))))


def _read_result(task: Task, content: str) -> None:
    result = _json(content)
    if not isinstance(result, dict):
        return
    found = cast("dict[str, Any]", result)
    for item in cast("list[object]", found.get("documents") or []):
        _note_document(task, item)
    if isinstance(found.get("text"), str):
        page = PageRead(
            str(found.get("document")),
            int(found.get("page") or 0),
            found["text"],
            str(found.get("second_reading") or ""),
        )
        task.pages.append(page)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
