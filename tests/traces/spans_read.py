"""Reads what a file collector got: OTLP's JSON lines, as spans; knows nothing of how they are made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Read:
    """A span; `parent` is empty for a root, `process` the service's name."""

    process: str
    trace: str
    id: str
    parent: str
    name: str
    said: dict[str, Any]
    failed: bool
    links: tuple[tuple[str, str], ...]


def read(file: Path) -> list[Read]:
    return [each for line in file.read_text().splitlines() for each in of_request(json.loads(line))]


def of_request(request: dict[str, Any]) -> list[Read]:
    found: list[Read] = []
    for resource in request["resourceSpans"]:
        process = _said(resource["resource"]["attributes"])["service.name"]
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                links = tuple((link["traceId"], link["spanId"]) for link in span["links"])
                found.append(
                    Read(
                        *(process, span["traceId"], span["spanId"], span.get("parentSpanId", ""), span["name"]),
                        *(_said(span["attributes"]), span["status"].get("code") == 2, links),
                    )
                )
    return found


def _said(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in attributes}


def problems_of_tree(spans: list[Read], remote_parent: str = "") -> list[str]:
    """Why these spans, all of one trace, are not one tree; empty where they are.

    With `remote_parent` the root hangs under a span of the sender's, which is not among them.
    """
    ids = [span.id for span in spans]
    known = set(ids)
    found = [f"{span.name}: id twice" for span in spans if ids.count(span.id) > 1]
    roots = [span for span in spans if span.parent in ("", remote_parent)]
    if len(roots) != 1:
        found.append(f"{len(roots)} roots: {[root.name for root in roots]}")
    orphans = [span for span in spans if span not in roots and span.parent not in known]
    found += [f"{span.process} {span.name}: its parent is nowhere" for span in orphans]
    parents = {span.id: span.parent for span in spans}
    for span in spans:
        at, steps = span.id, 0
        while at in parents and steps <= len(spans):
            at, steps = parents[at], steps + 1
        if steps > len(spans):
            found.append(f"{span.name}: a circle")
    return found
