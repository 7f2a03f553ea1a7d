"""By which activity of which run of a workflow something is written: entries name it, and its history names them back.

Set around each activity (activities/registered.py); empty for what no workflow does.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_ORIGIN: ContextVar[str] = ContextVar("origin", default="")


@contextmanager
def written_by(run: str, activity: str) -> Generator[None]:
    """`activity` is the id that the run's history knows it by."""
    token = _ORIGIN.set(f"{run}/{activity}")
    try:
        yield
    finally:
        _ORIGIN.reset(token)


def origin() -> str:
    """`RUN/ACTIVITY`, or empty."""
    return _ORIGIN.get()
