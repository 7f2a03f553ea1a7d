"""What changed between two versions of a procedure, in its own terms, not line by line."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import cast

from pydantic import BaseModel, ConfigDict, JsonValue

from diwan.procedures.findings import Path, dotted
from diwan.procedures.schema import Procedure


class ChangeKind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    REORDERED = "reordered"


class Change(BaseModel):
    """`before` and `after` are what stands at `path`. A case keeps the version it was opened under.

    `affects_running`: a case that were moved to the new version could take another way, fall due on another day, or
    end otherwise or for other reasons. Labels and hints, the form and the numbering do none of that.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    kind: ChangeKind
    affects_running: bool
    before: JsonValue = None
    after: JsonValue = None


# Mappings in which the order of the file means something.
_ORDERED = {("rules",), ("outcomes",)}
_NOT_FOR_RUNNING = {
    *("schema", "name", "version", "title", "office", "notice", "series", "form", "retention", "retention_years")
}
_WORDING = {"label", "hint"}


def diff(old: Procedure, new: Procedure) -> list[Change]:
    """Changes from `old` to `new`, in the order of the file."""
    before = cast("dict[str, JsonValue]", old.model_dump(mode="json", by_alias=True, exclude_none=True))
    after = cast("dict[str, JsonValue]", new.model_dump(mode="json", by_alias=True, exclude_none=True))
    return list(_changes(before, after, ()))


def _changes(before: JsonValue, after: JsonValue, path: Path) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            here: Path = (*path, name)
            if name not in after:
                yield _change(here, ChangeKind.REMOVED, before[name], None)
            elif name not in before:
                yield _change(here, ChangeKind.ADDED, None, after[name])
            else:
                yield from _changes(before[name], after[name], here)
        if path in _ORDERED:
            yield from _order(list(before), list(after), path)
    elif before != after or type(before) is not type(after):
        yield _change(path, ChangeKind.CHANGED, before, after)


def _order(before: list[str], after: list[str], path: Path) -> Iterator[Change]:
    kept_before = [name for name in before if name in after]
    kept_after = [name for name in after if name in before]
    if kept_before != kept_after:
        yield _change(path, ChangeKind.REORDERED, cast("JsonValue", kept_before), cast("JsonValue", kept_after))


def _change(path: Path, kind: ChangeKind, before: JsonValue, after: JsonValue) -> Change:
    wording = any(part in _WORDING for part in path)
    return Change(
        path=dotted(path),
        kind=kind,
        affects_running=path[0] not in _NOT_FOR_RUNNING and not wording,
        before=before,
        after=after,
    )
