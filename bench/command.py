"""The command line of a bench: whole or quick, and what it ends with."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bench.say import say
from diwan.domain.errors import DiwanError

Options = Callable[[argparse.ArgumentParser], None]


def _no_more(_: argparse.ArgumentParser) -> None:
    pass


def main(
    description: str,
    quick: str,
    run: Callable[[argparse.Namespace], Coroutine[Any, Any, int]],
    options: Options = _no_more,
) -> int:
    """The exit status. `quick` says what `--quick` leaves out; `run` is told what was given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help=quick)
    options(parser)
    given = parser.parse_args()
    try:
        return asyncio.run(run(given))
    except DiwanError as error:
        say(str(error))
        return error.exit_code
