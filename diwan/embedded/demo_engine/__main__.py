"""`python -m diwan.embedded.demo_engine --port N [--host 127.0.0.1] [--fail MODE[:TIMES]]`"""

from __future__ import annotations

import argparse

import uvicorn

from diwan.embedded.demo_engine.app import create_app
from diwan.embedded.demo_engine.failures import Failure, Mode


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="diwan demo engine", description="Fixed rules, not a language model.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--fail", type=failure_of, default=None, metavar="MODE[:TIMES]", help="answer badly, for tests")
    given = parser.parse_args(arguments)
    uvicorn.run(create_app(given.fail), host=given.host, port=given.port, access_log=False, log_level="warning")


def failure_of(text: str) -> Failure:
    """`junk`, or `busy:2` for the first two calls. Raises ValueError."""
    mode, _, times = text.partition(":")
    return Failure(Mode(mode), int(times) if times else None)


if __name__ == "__main__":
    main()
