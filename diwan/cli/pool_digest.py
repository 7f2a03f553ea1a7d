"""`diwan pool digest`: what the registry has to say of weights that lie on this host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diwan.cli.output import Output, OutputOption, emit, record, working


def digest(
    folder: Annotated[Path, typer.Argument(help="Folder of the weights and their tokenizer.", metavar="FOLDER")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the digests by which a model is registered: those of its weights and of its tokenizer.

    Reads every byte of the weights.
    """
    from diwan.pool.digests import digests

    with working(f"Reading {folder}"):
        found = dict(digests(folder))
    emit(output, found, lambda width: record(list(found.items())))
