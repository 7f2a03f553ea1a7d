"""The bundle of a case: all that is needed to check it, years later, without this service (docs/ledger.md).

What is packed here is verified by `diwan/standalone/verify_bundle.py`, which shares no code with it. The same parts
give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diwan.ledger.entry import canonical
from diwan.ledger.fields import Disclosure, joined

FORMAT = "diwan-bundle/1"
_NEVER = (1980, 1, 1, 0, 0, 0)  # a zip's first instant: no file in it has one of its own
_DEFLATED = 9


@dataclass(frozen=True, slots=True)
class Opened:
    """What an entry commits to: name -> (salt, digest), and its body where it has one: what is shown of its `fields`,
    or all of a `body` that was committed to as a whole."""

    committed: Mapping[str, tuple[bytes, bytes]]
    body: Mapping[str, Any] | None = None
    fields: Disclosure | None = None

    @property
    def shown(self) -> Mapping[str, Any] | None:
        """The body as far as it is disclosed."""
        if self.fields is None:
            return self.body
        return joined({pointer: field.value for pointer, field in self.fields.shown.items()})


@dataclass(frozen=True, slots=True)
class PlacedEntry:
    """An entry's bytes, its place in a log (`shard`, `index`), the hashes beside its way up, and what is disclosed."""

    header: bytes
    shard: str
    index: int
    hashes: tuple[bytes, ...]
    opened: Opened | None = None


@dataclass(frozen=True, slots=True)
class Grown:
    """From a checkpoint that somebody kept (`note`, as it was kept) to the bundle's of the same log, by `hashes`."""

    note: bytes
    hashes: tuple[bytes, ...]


@dataclass(frozen=True)
class Bundle:
    """`told` is what stands on its cover: tenant, case, number, language, made_at, made_by. `notes` are checkpoints by
    shard, `grown` how the log of a shard grew to it, `procedures` texts by hash, `histories`
    those of runs by `TYPE-RUN`, `pages` further files by name (the
    readable story)."""

    told: Mapping[str, str]
    entries: Sequence[PlacedEntry]
    notes: Mapping[str, bytes]
    grown: Mapping[str, Grown] = field(default_factory=dict[str, Grown])
    procedures: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    histories: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    pages: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


def pack(bundle: Bundle) -> bytes:
    """The zip file."""
    files = {**_of_entries(bundle), **bundle.pages}
    files |= {f"checkpoints/{shard}.note": note for shard, note in bundle.notes.items()}
    for shard, each in bundle.grown.items():
        grown = {"note": each.note.decode(), "hashes": [_base64(one) for one in each.hashes]}
        files[f"grown/{shard}.json"] = _json(grown)
    files |= {f"procedures/{digest}.yaml": text for digest, text in bundle.procedures.items()}
    files |= {f"histories/{run}.json": history for run, history in bundle.histories.items()}
    cover = {
        **bundle.told,
        "format": FORMAT,
        "entries": len(bundle.entries),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=_DEFLATED) as packed:
        for name, content in [("bundle.json", _json(cover)), *sorted(files.items())]:
            info = zipfile.ZipInfo(name, _NEVER)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            packed.writestr(info, content)
    return made.getvalue()


def _of_entries(bundle: Bundle) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    places: dict[str, Any] = {}
    for number, entry in enumerate(bundle.entries, 1):
        files[f"entries/{number:06d}.json"] = entry.header
        places[str(number)] = {
            "checkpoint": f"checkpoints/{entry.shard}.note",
            "index": entry.index,
            "hashes": [_base64(each) for each in entry.hashes],
        }
        if entry.opened is not None:
            # Canonical itself, so that whoever checks need not know how fractions are spelled.
            files[f"bodies/{number:06d}.json"] = canonical(_disclosed(entry.opened))
    files["places.json"] = _json(places)
    return files


def _disclosed(opened: Opened) -> dict[str, Any]:
    committed = {
        name: {"salt": _base64(salt), "digest": _base64(digest)} for name, (salt, digest) in opened.committed.items()
    }
    body = opened.shown
    disclosed: dict[str, Any] = {"committed": committed, **({} if body is None else {"body": body})}
    if opened.fields is not None:
        shown = {pointer: {"salt": _base64(field.salt)} for pointer, field in opened.fields.shown.items()}
        hidden = {pointer: {"commitment": _base64(each)} for pointer, each in opened.fields.hidden.items()}
        disclosed["fields"] = shown | hidden
    return disclosed


def _json(value: Any) -> bytes:
    """For people as well as for programs: one name a line."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
