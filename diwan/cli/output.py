"""Owns how results look: data on standard output as JSON or as a table, everything else on standard error.

What applicants wrote is shown as text only: control characters are dropped (a name must not drive the terminal)
and right-to-left runs are isolated, so that they do not reorder the table around them.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TextIO, cast

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_WIDTH_WITHOUT_TERMINAL = 120
_READABLE = 12  # characters of a column that may wrap
_GAP = 2


class Output(StrEnum):
    JSON = "json"
    TABLE = "table"


OutputOption = Annotated[Output, typer.Option("--output", help="What goes to standard output.")]


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading and the key of its value in each row. `keep`: never broken over lines."""

    heading: str
    key: str
    right: bool = False
    keep: bool = False


def plain(text: str) -> str:
    """Text without control and bidi control characters; line breaks and tabs become spaces."""
    kept = (" " if c in "\n\r\t" else c for c in text if c in "\n\r\t" or unicodedata.category(c) != "Cc")
    return "".join(c for c in kept if c not in _BIDI_CONTROLS)


def isolated(text: str) -> str:
    """Plain text, isolated when it has a right-to-left character, so that its neighbours keep their order."""
    clean = plain(text)
    if any(unicodedata.bidirectional(c) in {"R", "AL", "AN"} for c in clean):
        return f"{FIRST_STRONG_ISOLATE}{clean}{POP_ISOLATE}"
    return clean


def cell(value: object) -> Text:
    """A value as table text: yes and no, numbers grouped by a thin space, lists comma separated, nothing as a dash."""
    if value is None or value == "" or value == []:
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int):
        return Text(f"{value:,}".replace(",", "\u202f"))
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value)
        return Text(", ".join(f"{isolated(str(key))}: {cell(inner).plain}" for key, inner in pairs.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = cast("Sequence[object]", value)
        return Text(", ".join(cell(item).plain for item in items))
    return Text(isolated(str(value)))


def console(stream: TextIO) -> Console:
    """A console on a stream. Without a terminal it is as wide as COLUMNS says, else 120, and has no colour."""
    width = None
    if not stream.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        width = _WIDTH_WITHOUT_TERMINAL
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], *, width: int) -> RenderableType:
    """Rows as a table. Where it does not fit, one block a row: columns of broken words cannot be read."""
    cells = [[cell(row.get(column.key)) for column in columns] for row in rows]
    if sum(_needed(column, [line[n] for line in cells]) + _GAP for n, column in enumerate(columns)) > width:
        headings = [column.heading for column in columns]
        return Group(*(_record(list(zip(headings, line, strict=True))) for line in cells))
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        justify = "right" if column.right else "left"
        grid.add_column(column.heading, justify=justify, overflow="fold", no_wrap=column.keep or column.right)
    for line in cells:
        grid.add_row(*line)
    return grid


def _needed(column: Column, cells: Sequence[Text]) -> int:
    """The least width of a column that can still be read."""
    longest = max((found.cell_len for found in cells), default=0)
    if not column.keep and not column.right:
        longest = min(longest, _READABLE)
    return max(longest, len(column.heading))


def record(fields: Sequence[tuple[str, object]], *, title: str = "") -> RenderableType:
    """Names and values below each other."""
    body = _record(fields)
    return Group(Text(isolated(title), style="bold"), body) if title else body


def _record(fields: Sequence[tuple[str, object]]) -> Table:
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in fields:
        grid.add_row(Text(isolated(name)), value if isinstance(value, Text) else cell(value))
    grid.add_row("", "")
    return grid


def emit(output: Output, data: object, picture: Callable[[int], RenderableType]) -> None:
    """Print `data` as JSON, or `picture(width)` as what a person reads."""
    if output is Output.JSON:
        sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")
        sys.stdout.flush()
        return
    out = console(sys.stdout)
    out.print(picture(out.width))


def show(picture: Callable[[int], RenderableType], *, output: Output) -> None:
    """What a person should see before acting: beside the data it goes to standard error."""
    out = console(sys.stderr if output is Output.JSON else sys.stdout)
    out.print(picture(out.width))


def say(message: str) -> None:
    """A line of progress, on standard error."""
    sys.stderr.write(f"{plain(message)}\n")
    sys.stderr.flush()


@contextmanager
def working(message: str) -> Generator[None]:
    """A spinner on standard error while something takes time; one line where there is no terminal."""
    if not sys.stderr.isatty():
        say(message)
        yield
        return
    with console(sys.stderr).status(plain(message)):
        yield
