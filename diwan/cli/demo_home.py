"""Owns where the demo keeps its data: DIWAN_HOME/demo, new for each demo, kept until the next one."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from diwan.domain.errors import Conflict, Final
from diwan.embedded.home import Home
from diwan.embedded.postgres import EmbeddedPostgres

MARK = "made-by-diwan-demo"


def fresh_home(home: Path) -> Path:
    """An empty folder for a demo under `home`; what the demo before left is deleted, and nothing else ever is.

    Raises `Conflict` where a stack runs on it, or where the folder holds something that no demo made.
    """
    place = home / "demo"
    if place.exists():
        _remove(place)
    try:
        place.mkdir(parents=True)
        (place / MARK).touch()
    except OSError as error:
        raise Final("demo.unwritable", f"{place}: {error.strerror}.", "Set DIWAN_HOME to a folder of yours.") from None
    return place


def _remove(place: Path) -> None:
    if not (place / MARK).exists():
        raise Conflict("demo.not_ours", f"{place} was not made by a demo.", "Move it away, or set DIWAN_HOME.")
    held = Home(place)
    held.open()  # refuses while a stack runs on it
    try:
        # Its database may lie elsewhere, where the database's user can reach it.
        EmbeddedPostgres(place / "postgres", secrets_dir=held.secrets).remove()
    finally:
        held.close()
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(place)
