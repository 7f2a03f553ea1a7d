"""One real stack for the scenarios: every part a process, the demo engine in the model's place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from diwan.embedded.bootstrap import bootstrap
from diwan.embedded.parts import Options
from diwan.embedded.supervisor import Stack
from tests.scenario.office import Office


def short_folder() -> Path:
    """Short enough for a socket's path, and open to the database's user."""
    folder = Path(tempfile.mkdtemp(prefix="diwan-", dir="/tmp"))
    folder.chmod(0o711)
    return folder


@asynccontextmanager
async def an_office(**options: object) -> AsyncGenerator[Office]:
    """A stack of its own and a client for it, gone afterwards."""
    folder = short_folder()
    said: list[str] = []
    stack = Stack(
        Options(home=folder / "home", port=0, **options),  # type: ignore[arg-type]
        bootstrap=lambda parts: bootstrap(parts, clock=lambda: datetime.now(UTC), say=said.append),
        say=said.append,
    )
    await stack.start()
    try:
        async with httpx.AsyncClient(timeout=60.0, trust_env=False) as http:
            yield Office(stack, http)
    finally:
        await stack.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def office() -> AsyncGenerator[Office]:
    async with an_office() as made:
        yield made
