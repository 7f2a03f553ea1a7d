"""Where the workers' CPU goes, sampled by py-spy from outside while a round runs (its figures count for nothing)."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bench.service import RIVAL_PYTHON

_PY_SPY = RIVAL_PYTHON.parent / "py-spy"
_RATE = 100
# Read from the innermost frame outwards: the first that matches says what a sample was spent on.
_AREAS = (
    ("messages to Postgres", r"/psycopg|(^|/)diwan/store/(exchange|connection)\.py"),
    ("SQLAlchemy", r"/sqlalchemy/"),
    ("pydantic", r"/pydantic"),
    ("HTTP client", r"/(httpx|httpcore|h11|anyio|aiohttp)/"),
    ("sealing and keys", r"(^|/)diwan/vault/|/cryptography/"),
    ("ledger and store", r"(^|/)diwan/(store|ledger)/|/rfc8785/"),
    ("agent loop, requests, answers", r"(^|/)agents/"),
    ("activities", r"(^|/)activities/"),
    ("workflow code", r"(^|/)workflows/"),
    ("Temporal's sandbox", r"/workflow_sandbox/"),
    ("Temporal's SDK", r"/temporalio/"),
    ("telemetry", r"/(opentelemetry|structlog)/|(^|/)diwan/(tracing|telemetry|metrics)"),
    ("event loop", r"/(asyncio|uvloop)/"),
)


async def sample(pid: int, seconds: int, into: Path) -> None:
    """Folded stacks of the threads that hold the interpreter (py-spy's raw format)."""
    process = await asyncio.create_subprocess_exec(
        *(str(_PY_SPY), "record", "--pid", str(pid), "--rate", str(_RATE), "--duration", str(seconds)),
        *("--gil", "--format", "raw", "--full-filenames", "--output", str(into)),  # else who waits counts, too
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await process.wait()


def shares(folded: str) -> Mapping[str, float]:
    """Area → share of the samples, largest first."""
    counted: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        counted[_area(stack.split(";"))] += int(count)
    total = sum(counted.values()) or 1
    return {area: count / total for area, count in counted.most_common()}


def _area(stack: list[str]) -> str:
    for frame in reversed(stack):
        place = frame.partition("(")[2].partition(":")[0]
        for area, pattern in _AREAS:
            if re.search(pattern, place):
                return area
    return "other"
