"""`diwan version`."""

from __future__ import annotations

import platform

import typer

from diwan import __version__
from diwan.cli.output import Output, OutputOption, emit, record


def register(app: typer.Typer) -> None:
    app.command("version")(version)


def version(output: OutputOption = Output.TABLE) -> None:
    """Print the version of Diwan and of Python."""
    data = {"diwan": __version__, "python": platform.python_version()}
    emit(output, data, lambda width: record(list(data.items())))
