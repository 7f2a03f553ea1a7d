"""Owns how a command is found: a module is imported when one of its commands is asked for, not before.

`diwan --help` and the client commands must answer at once, while `up` and the workers draw in a database and a
workflow library. So names and one-line helps stand in a table, and a module's `register(app)` runs on demand.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from diwan.domain.errors import DiwanError


@dataclass(frozen=True)
class Entry:
    """One top-level command: `module` has `register(app)`, `summary` is what `diwan --help` shows in `section`."""

    name: str
    module: str
    summary: str
    section: str


def command_group(text: str = "") -> typer.Typer:
    """A typer app that shows plain help: drawing it with rich costs 0.3 s a call."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


def load(entry: Entry) -> TyperCommand | TyperGroup:
    """The real command behind an entry. Raises KeyError when its module does not register that name."""
    app = command_group()
    import_module(entry.module).register(app)
    return get_group(app).commands[entry.name]  # pyright: ignore[reportReturnType]  # typer makes only these two


def report(error: DiwanError) -> None:
    """Say on standard error what happened and what to do next."""
    print(f"diwan: {error.message} [{error.code}]", file=sys.stderr)  # noqa: T201
    for line in error.remedy.splitlines():
        print(f"  {line}", file=sys.stderr)  # noqa: T201


class LazyGroup(TyperGroup):
    """A group whose commands come from `entries`; a DiwanError becomes a message and its exit code."""

    entries: ClassVar[dict[str, Entry]] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # Stand-ins: what typer guesses from when a name is misspelt.
        self.commands = {name: TyperCommand(name=name, help=entry.summary) for name, entry in self.entries.items()}

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | TyperGroup | None:
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        return load(entry)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections = dict.fromkeys(entry.section for entry in self.entries.values())
        for section in sections:
            with formatter.section(section):
                formatter.write_dl([(e.name, e.summary) for e in self.entries.values() if e.section == section])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DiwanError as error:
            report(error)
            raise typer.Exit(error.exit_code) from None
