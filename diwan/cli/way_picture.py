"""Owns how the way of a case looks (`diwan case show --trace`): a tree of its steps, with times. Input: CaseTrace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from diwan.cli.output import isolated, record

Json = Mapping[str, Any]

# Of what an entry says, the parts that tell the way; the rest is in --story.
_TOLD = (
    "type",
    "moved",
    "to",
    "to_visit",
    "tool",
    "ok",
    "act",
    "outcome",
    "reason",
    "code",
    "result",
    "kind",
    "letter",
)


def way(view: Json) -> RenderableType:
    """The tree, and above it what to look for in a trace viewer."""
    head = record(
        [
            ("trace id", view.get("trace_id") or "none: nobody traced when it was opened"),
            ("status", view.get("status")),
            ("at step", view.get("step")),
            ("blocked", view.get("blocked")),
            ("last rung", view.get("rung_at")),
            ("rings since the last event", view.get("rings")),
        ]
    )
    root = Tree(Text(f"case {view.get('number')}", style="bold"), guide_style="dim")
    for visit in _list(view, "visits"):
        _grow(root, visit)
    for call in _list(view, "unanswered"):
        root.add(Text(f"{_time(call['started_at'])}  {_call(call)}: no answer on record"))
    return Group(Text("Trace", style="bold"), head, root, Text(""))


def _grow(root: Tree, visit: Json) -> None:
    lines = _list(visit, "lines")
    place = f"{visit.get('step') or 'before the first step'} ({visit.get('visit')})"
    branch = root.add(Text(f"{place}  {_seconds(visit.get('seconds'))}", style="bold"))
    for line in lines:
        detail = cast("Json", line.get("detail") or {})
        told = [f"{name}={detail[name]}" for name in _TOLD if detail.get(name) not in (None, "", 0)]
        node = branch.add(
            Text(isolated(" ".join([_time(line["at"]), "", str(line["kind"]), *told, *_waited(line)])), overflow="fold")
        )
        if line.get("model_call"):
            node.add(Text(_call(cast("Json", line["model_call"]))))
        for delivery in _list(line, "deliveries"):
            node.add(Text(_delivery(delivery)))


def _waited(line: Json) -> list[str]:
    if not str(line["kind"]).startswith("event:") or not str(line["kind"]).endswith((":accepted", ":assigned")):
        return []
    waited = line.get("effect_after_s")
    return [f"(effect after {_seconds(waited)})" if waited is not None else "(no effect yet)"]


def _call(call: Json) -> str:
    tokens = f"{call['prompt_tokens']} tokens in ({call['cached_tokens']} cached), {call['completion_tokens']} out"
    used = "" if call.get("used") else f", {call.get('status')}, not used"
    return f"{call['model']} call {call['call']} attempt {call['attempt']}: {_seconds(call['seconds'])}, {tokens}{used}"


def _delivery(item: Json) -> str:
    tried = f"{item['attempts']} attempt{'' if item['attempts'] == 1 else 's'}"
    if item.get("delivered_at"):
        return f"{item['type']} → {item['webhook']}: delivered {_time(item['delivered_at'])} after {tried}"
    return f"{item['type']} → {item['webhook']}: {tried}, last {item['status'] or '-'}, next {_time(item['next_at'])}"


def _seconds(value: object) -> str:
    if not isinstance(value, int | float):
        return "-"
    if value >= 172_800:
        return f"{value / 86_400:.0f} days"
    return f"{value / 3600:.1f} h" if value >= 7200 else f"{value:.2f} s"


def _time(instant: object) -> str:
    """Day and time in UTC, to the hundredth of a second."""
    text = str(instant or "")
    return f"{text[:10]} {text[11:22].rstrip('Z+')}Z" if len(text) >= 19 else text


def _list(view: Json, name: str) -> Sequence[Json]:
    return cast("Sequence[Json]", view.get(name) or [])
