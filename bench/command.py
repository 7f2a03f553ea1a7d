"""The command line of a bench: whole or quick, and what it ends with."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bench.say import say
from diwan.domain.errors import DiwanError


def main(description: str, quick: str, run: Callable[[bool], Coroutine[Any, Any, int]]) -> int:
    """The exit status. `quick` says what `--quick` leaves out; `run` is told whether it was given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help=quick)
    given = parser.parse_args()
    try:
        return asyncio.run(run(given.quick))
    except DiwanError as error:
        say(str(error))
        return error.exit_code
