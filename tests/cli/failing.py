"""A command that fails with the error named: for the test of exit codes."""

from __future__ import annotations

import typer

from diwan.domain import errors


def register(app: typer.Typer) -> None:
    app.command("fail")(fail)


def fail(kind: str) -> None:
    raise getattr(errors, kind)("a.code", "What is wrong.", "What to do.\nAnd then this.")
