"""Owns how cases, tasks, facts and proposals look as tables. Input is the JSON of diwan/web/api/views.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from diwan.cli.output import Column, cell, isolated, record, table

Json = Mapping[str, Any]

CASES = (
    Column("Number", "number", keep=True),
    Column("Procedure", "procedure", keep=True),
    Column("Status", "status", keep=True),
    Column("Step", "step", keep=True),
    Column("Result", "result", keep=True),
    Column("Language", "language", keep=True),
    Column("Opened", "opened_at", keep=True),
    Column("Remarks", "remarks"),
)
TASKS = (
    Column("Task", "id", keep=True),
    Column("Case", "number", keep=True),
    Column("Kind", "kind", keep=True),
    Column("Status", "status", keep=True),
    Column("For", "roles"),
    Column("Assignee", "assignee", keep=True),
    Column("Due", "due", keep=True),
    Column("Reminded", "reminded_at"),
)
_RULES = (Column("Rule", "rule", keep=True), Column("Holds", "holds"))
_STORY = (
    Column("#", "seq", right=True),
    Column("At", "at", keep=True),
    Column("What", "kind", keep=True),
    Column("Who", "who"),
    Column("Step", "place"),
    Column("Detail", "detail"),
)
_FACTS = (
    Column("Fact", "name"),
    Column("Value", "value"),
    Column("Provenance", "provenance", keep=True),
    Column("By, as of", "source"),
    Column("Evidence", "evidence"),
)
_DOCUMENTS = (
    Column("Document", "name"),
    Column("Piece", "piece", keep=True),
    Column("Pages", "pages", right=True),
    Column("Status", "status", keep=True),
    Column("Remarks", "remarks"),
    Column("Id", "id", keep=True),
)
_PERIODS = (
    Column("Period", "name", keep=True),
    Column("Began", "started_on", keep=True),
    Column("Last day", "due_on", keep=True),
    Column("Stands still since", "suspended_on"),
    Column("Days stood still", "suspended_days", right=True),
    Column("Ended", "ended"),
)
_LETTERS = (
    Column("Letter", "kind", keep=True),
    Column("Number", "number", keep=True),
    Column("Language", "language", keep=True),
    Column("Made", "made_at", keep=True),
    Column("Notified", "notified"),
)
_TIMES = (
    *("at", "opened_at", "closed_at", "due_at", "created_at", "completed_at", "reminded_at"),
    *("made_at", "signed_at", "wake_at"),
)


def minute(instant: object) -> str:
    """An RFC 3339 instant in UTC, to the minute."""
    text = str(instant or "")
    return f"{text[:10]} {text[11:16]}Z" if len(text) >= 16 else text


def readable(item: Json) -> dict[str, Any]:
    """A row as it is shown: instants to the minute, and the day alone on which something is due."""
    shown = {key: minute(value) if key in _TIMES and value else value for key, value in item.items()}
    return shown | {"due": str(item.get("due_at") or "")[:10]}


def cases(items: Iterable[Json], width: int) -> RenderableType:
    rows = [{**readable(item), "remarks": remarks(item)} for item in items]
    return table(CASES, rows, width=width) if rows else Text("No cases.")


def tasks(items: Iterable[Json], width: int) -> RenderableType:
    rows = [readable(item) for item in items]
    return table(TASKS, rows, width=width) if rows else Text("No tasks.")


def remarks(item: Json) -> list[str]:
    """What somebody should look at: flags, why a case is blocked, what of it is erased, whether it is held."""
    blocked = str(item.get("blocked") or "")
    said = [*cast("list[str]", item.get("flags") or []), *([f"blocked: {blocked}"] if blocked else [])]
    if item.get("erased"):
        said.append(f"erased: {', '.join(cast('list[str]', item['erased']))}")
    if any(hold["lifted_at"] is None for hold in cast("list[Json]", item.get("holds") or [])):
        said.append("legal hold")
    return said


def case(view: Json, width: int) -> RenderableType:
    """A whole case: where it stands, who it concerns, what was received, held to be true, proposed, decided, sent."""
    fields = ("procedure", "status", "step", "result", "language", "source", "reference", "opened_at", "closed_at")
    shown = readable(view)
    parts: list[RenderableType] = [
        record(
            [(name.replace("_", " "), shown.get(name)) for name in fields] + [("remarks", remarks(view))],
            title=str(view.get("number") or view.get("id")),
        )
    ]
    periods = cast("Mapping[str, Json]", view.get("periods") or {})
    for title, columns, rows in (
        ("Periods", _PERIODS, [{**period, "name": name} for name, period in periods.items()]),
        ("Documents", _DOCUMENTS, [_document(item) for item in _list(view, "documents")]),
        ("Facts", _FACTS, [fact(item) for item in _list(view, "facts")]),
        ("Letters", _LETTERS, [readable(item) for item in _list(view, "letters")]),
        ("Tasks", TASKS, [readable(item) for item in _list(view, "tasks")]),
    ):
        parts += section(title, table(columns, rows, width=width)) if rows else []
    if view.get("parties"):
        parts += section("Parties", tree(view["parties"]))
    if view.get("proposal"):
        parts += section("Proposal", proposal(view["proposal"], width))
    if view.get("decision"):
        parts += section("Decision", _decision(view["decision"], width))
    return Group(*parts)


def _decision(view: Json, width: int) -> RenderableType:
    head = record([(name.replace("_", " "), value) for name, value in readable(view).items() if _plain(value)])
    return Group(head, proposal(view["proposal"], width))


def proposal(view: Json, width: int) -> RenderableType:
    """What is proposed and what it rests on. Whatever is not known here is shown as it comes: nothing is left out."""
    said = cast("Json", view.get("assessment") or {})
    rules, facts = _rows(said, "rules", "rule"), _rows(view, "facts", "name")
    lines = [(name.replace("_", " "), value) for name, value in [*said.items(), *view.items()] if _plain(value)]
    parts: list[RenderableType] = [record(lines)]
    parts += section("Facts", table(_FACTS, [fact(item) for item in facts], width=width)) if facts else []
    parts += section("Rules", table(_RULES, [_rule(item) for item in rules], width=width)) if rules else []
    of_view = _rest(view, "assessment", *(["facts"] if facts else []))
    of_said = _rest(said, *(["rules"] if rules else []))
    rest = {**of_view, **{f"assessment {name}": value for name, value in of_said.items()}}
    return Group(*parts, tree(rest)) if rest else Group(*parts)


def _rows(item: Json, name: str, called: str) -> list[Json]:
    """What makes a table: each row is called something. Empty where it does not, and is shown as it comes."""
    value: object = item.get(name)
    rows = cast("list[object]", value) if isinstance(value, list) else []
    return cast("list[Json]", rows) if all(isinstance(row, Mapping) and called in row for row in rows) else []


def _rest(item: Json, *drawn: str) -> dict[str, Any]:
    """What is drawn neither as a line nor as a table of its own."""
    return {name: value for name, value in item.items() if name not in drawn and not _plain(value)}


def _plain(value: object) -> bool:
    """Whether a value fits on a line: no mapping, and no list with anything but texts and numbers in it."""
    return not isinstance(value, Mapping) and (not isinstance(value, list) or _short(cast("object", value)))


def _rule(item: Json) -> dict[str, Any]:
    return {**item, "holds": "unknown" if item.get("holds") is None else item["holds"]}


def story(lines: Sequence[Json], width: int) -> RenderableType:
    rows = [
        {
            **readable(line),
            "who": f"{line.get('actor_kind')} {line.get('actor')}",
            "place": f"{line['step']} ({line.get('visit')})" if line.get("step") else "",
        }
        for line in lines
    ]
    return Group(*section("Story", table(_STORY, rows, width=width)))


def fact(item: Json) -> dict[str, Any]:
    evidence = cast("Json", item.get("evidence") or {})
    document = str(evidence.get("document") or "")[:8]  # enough to find it among the case's documents
    quote = f"{document} p. {evidence.get('page')}: {evidence.get('quote')}" if evidence else ""
    return {**item, "evidence": quote, "source": _source(item)}


def _source(item: Json) -> str:
    by_person = " (a person)" if item.get("by_person") else ""
    return f"{item.get('established_by')}{by_person}, {item.get('as_of') or ''}"


def _document(item: Json) -> dict[str, Any]:
    said = [str(item.get("reason") or ""), str(item.get("remedy") or ""), *cast("list[str]", item.get("flags") or [])]
    return {**item, "remarks": [text for text in said if text]}


def task(view: Json, width: int) -> RenderableType:
    """A task and everything that an act on it is bound to."""
    fields = ("number", "kind", "status", "assignee", "roles", "proposer", "created_at", "due_at", "outcome", "digest")
    about = readable(view)
    head = record([(name.replace("_", " "), about.get(name)) for name in fields], title=str(view.get("id")))
    shown = dict(cast("Json", view.get("shown") or {}))
    proposed = shown.pop("proposal", None)
    parts = [head, *section("Shown", tree(shown))]
    return Group(*parts, *section("Proposal", proposal(proposed, width))) if proposed else Group(*parts)


def section(title: str, body: RenderableType) -> list[RenderableType]:
    return [Text(title, style="bold"), body, Text("")]


def tree(value: object) -> RenderableType:
    """Any JSON value, indented: nothing of what an act is bound to may be left out of what is shown."""
    root = Tree("", hide_root=True, guide_style="dim")
    _grow(root, value)
    return root


def _grow(node: Tree, value: object) -> None:
    if isinstance(value, Mapping):
        for key, inner in cast("Json", value).items():
            _branch(node, str(key), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(cast("list[object]", value), start=1):
            _branch(node, str(number), inner)
    else:
        node.add(cell(value))


def _branch(node: Tree, name: str, value: object) -> None:
    label = Text(f"{isolated(name)}: ", style="bold")
    if not isinstance(value, Mapping | list) or _short(cast("object", value)):
        node.add(Text.assemble(label, cell(cast("object", value))))
    else:
        _grow(node.add(label), cast("object", value))


def _short(value: object) -> bool:
    """Whether a list or mapping fits on the line of its name: an empty one, or a list of plain values."""
    items = cast("list[object]", value) if isinstance(value, list) else [value] if value else []
    return all(isinstance(item, str | int) for item in items)


def _list(view: Json, name: str) -> list[Json]:
    return cast("list[Json]", view.get(name) or [])
