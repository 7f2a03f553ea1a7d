"""Owns how a case is followed: asking again, ever more slowly, until it ends or needs a person."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, cast

from diwan.cli.client import Client, segment
from diwan.domain.errors import Retry

_SHORTEST, _LONGEST, _GROWTH = 0.15, 2.0, 1.4  # seconds between two questions

Json = dict[str, Any]


def pauses() -> Generator[float]:
    """Seconds to wait before each question, growing to two."""
    pause = _SHORTEST
    while True:
        yield pause
        pause = min(pause * _GROWTH, _LONGEST)


def read_case(client: Client, case: str) -> Json:
    return client.get(f"/v1/cases/{segment(case)}")


def needs_a_person(view: Json) -> bool:
    """Whether the case waits for somebody's act, or for something from outside."""
    return view["status"] == "closed" or view["kind"] in ("task", "wait", "end") or bool(view.get("blocked"))


def follow(
    client: Client,
    case: str,
    until: Callable[[Json], bool],
    *,
    seconds: float,
    moved: Callable[[Json], None] = lambda view: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Json:
    """The case once `until` holds of it; `moved` is told each time its version differs.

    Raises Retry after `seconds`: the case goes on without us.
    """
    end, version = clock() + seconds, -1
    for pause in pauses():
        view = read_case(client, case)
        if cast("int", view["version"]) != version:
            version = view["version"]
            moved(view)
        if until(view):
            return view
        if clock() + pause > end:
            raise Retry(
                "cli.still_working",
                f"Case {view.get('number') or case} is still at step {view['step']} after {seconds:.0f} s.",
                f"It goes on by itself. Look again with `diwan case show {view.get('number') or case}`.",
            )
        sleep(pause)
    raise AssertionError  # pauses() has no end
