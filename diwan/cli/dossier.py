"""Owns the folder that `diwan submit` takes, and the events that are made of files.

    DIR/application.json   procedure, language, parties, answers; optional reference, documents {file name: piece}
    DIR/documents/         what the applicant hands in; optional

An event's id is derived from its content: the same folder sent again is the same event, and makes one case.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from diwan.domain.errors import InvalidInput
from diwan.domain.event import APPLICATION_SUBMITTED, Application

APPLICATION_FILE = "application.json"
DOCUMENTS_FOLDER = "documents"
_REQUIRED = ("procedure", "parties", "answers")
_KEYS = (*_REQUIRED, "language", "reference", "documents")
_SHAPE = (
    'It looks like {"procedure": "direct-housing-aid", "language": "fr", "parties": [...], "answers": {...}}; '
    "`diwan procedure schema NAME` prints what the answers may be."
)

Json = dict[str, Any]


@dataclass(frozen=True)
class File:
    """A document: `piece` is what the sender says it is, empty when it does not say."""

    name: str
    piece: str
    content: bytes


@dataclass(frozen=True)
class Dossier:
    """A folder as read: `application` has neither `documents` nor, where the sender gave none, `reference`."""

    application: Json
    files: tuple[File, ...]


@dataclass(frozen=True)
class Outgoing:
    """An event and its documents' bytes under the part names that its data gives."""

    event: Json
    parts: dict[str, bytes]


def read_json(path: Path, what: str) -> Json:
    """A JSON object from a file. Raises InvalidInput that names the line and column of what is wrong."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InvalidInput("cli.no_such_file", f"There is no {what}.", f"Looked for {path}.") from None
    except UnicodeDecodeError:
        raise InvalidInput("cli.not_utf8", f"{path} is not UTF-8.", "Save it as UTF-8.") from None
    except OSError as error:
        raise InvalidInput("cli.unreadable", f"{path} cannot be read: {error.strerror}.", "") from None
    return parse_object(text, str(path))


def parse_object(text: str, name: str) -> Json:
    """A JSON object from text; `name` is what messages call it. Keys may stand once only."""
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, name))
    except json.JSONDecodeError as error:
        raise InvalidInput(
            "cli.bad_json",
            f"{name}, line {error.lineno}, column {error.colno}: {error.msg}.",
            "A missing comma, a trailing comma or an open quote just before that place is the usual cause.",
        ) from None
    except RecursionError:
        raise InvalidInput("cli.bad_json", f"{name} is nested too deeply.", "") from None
    if not isinstance(value, dict):
        raise InvalidInput("cli.bad_json", f"{name} is not a JSON object.", "It starts with { and ends with }.")
    return cast("Json", value)


def _once(pairs: Sequence[tuple[str, Any]], name: str) -> Json:
    found: Json = {}
    for key, value in pairs:
        if key in found:
            raise InvalidInput("cli.bad_json", f"{name}: the key {key!r} stands twice in one object.", "Keep one.")
        found[key] = value
    return found


def read_dossier(folder: Path) -> Dossier:
    """The folder, checked as far as this machine can: form answers are the procedure's, so the service checks them."""
    if not folder.is_dir():
        raise InvalidInput(
            "dossier.no_folder", f"{folder} is not a folder.", "Give a folder with application.json and documents/."
        )
    application = read_json(folder / APPLICATION_FILE, "application.json in the folder")
    _check_keys(application)
    mapping = _mapping(application.pop("documents", {}))
    files = _read_files(folder / DOCUMENTS_FOLDER, mapping)
    _check_application(application)
    return Dossier(application, files)


def _check_keys(application: Json) -> None:
    unknown = [key for key in application if key not in _KEYS]
    if unknown:
        close = get_close_matches(unknown[0], _KEYS, n=1)
        raise InvalidInput(
            "dossier.unknown_key",
            f"application.json has keys that mean nothing here: {', '.join(map(repr, unknown))}.",
            f"Did you mean {close[0]!r}?" if close else f"It may have: {', '.join(_KEYS)}.",
        )
    missing = [key for key in _REQUIRED if key not in application]
    if missing:
        raise InvalidInput("dossier.missing_key", f"application.json lacks {', '.join(missing)}.", _SHAPE)


def _mapping(value: object) -> dict[str, str]:
    pairs = cast("dict[str, object]", value) if isinstance(value, dict) else None
    if pairs is None or not all(isinstance(piece, str) for piece in pairs.values()):
        raise InvalidInput(
            "dossier.bad_documents",
            "`documents` in application.json is not a mapping of file names to pieces.",
            'Write {"documents": {"card.pdf": "identity_card"}}, or leave it out.',
        )
    return cast("dict[str, str]", pairs)


def _read_files(folder: Path, mapping: Mapping[str, str]) -> tuple[File, ...]:
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
    absent = [name for name in mapping if name not in names]
    if absent:
        there = f"It has: {', '.join(names)}." if names else "It is empty or does not exist."
        raise InvalidInput(
            "dossier.missing_document",
            f"application.json names a document that is not in documents/: {', '.join(absent)}.",
            there,
        )
    return tuple(read_file(folder / name, mapping.get(name, "")) for name in names)


def read_file(path: Path, piece: str) -> File:
    try:
        return File(path.name, piece, path.read_bytes())
    except OSError as error:
        raise InvalidInput(
            "dossier.unreadable_document",
            f"The document {path} cannot be read: {error.strerror}.",
            "A folder is not a document: put each file directly into documents/." if path.is_dir() else "",
        ) from None


def _check_application(application: Json) -> None:
    try:
        Application.model_validate({"reference": "-", **application})
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        lines = [f"{'/'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in found[:20]]
        raise InvalidInput(
            "dossier.invalid", "application.json is not as it should be.", "\n".join([*lines, _SHAPE])
        ) from None


def opening_event(dossier: Dossier, *, source: str, reference: str = "") -> Outgoing:
    """The event that opens the dossier's case. Without a reference, one is derived from the content."""
    references, parts = _attach(dossier.files)
    data: Json = {**dossier.application, "documents": references}
    chosen = reference or str(data.get("reference") or "")
    data["reference"] = chosen or f"F-{_fingerprint(source, APPLICATION_SUBMITTED, '', data, parts)[:20]}"
    return _event(source, APPLICATION_SUBMITTED, "", data, parts)


def follow_up_event(kind: str, case: str, data: Json, files: Sequence[File], *, source: str) -> Outgoing:
    """An event for a case that exists; `case` is its id or number."""
    references, parts = _attach(files)
    given = cast("list[Json]", data.get("documents", []))
    return _event(source, kind, case, {**data, "documents": [*given, *references]} if references else data, parts)


def _attach(files: Sequence[File]) -> tuple[list[Json], dict[str, bytes]]:
    references: list[Json] = []
    parts: dict[str, bytes] = {}
    for number, file in enumerate(files, start=1):
        part = f"document-{number}"
        references.append({"name": file.name, "part": part} | ({"piece": file.piece} if file.piece else {}))
        parts[part] = file.content
    return references, parts


def _event(source: str, kind: str, subject: str, data: Json, parts: Mapping[str, bytes]) -> Outgoing:
    event: Json = {
        "specversion": "1.0",
        "id": _fingerprint(source, kind, subject, data, parts),
        "source": source,
        "type": kind,
        "datacontenttype": "application/json",
        "data": data,
    }
    if subject:
        event["subject"] = subject
    return Outgoing(event, dict(parts))


def _fingerprint(source: str, kind: str, subject: str, data: Json, parts: Mapping[str, bytes]) -> str:
    """SHA-256 over everything the event says, in hex, shortened to what an id needs."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}
    said = json.dumps([source, kind, subject, data, digests], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(said.encode()).hexdigest()[:40]
