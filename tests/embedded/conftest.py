"""One real stack for all tests of this folder: free ports, a home of its own, gone after the tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from diwan.embedded import accounts
from diwan.embedded.bootstrap import bootstrap
from diwan.embedded.parts import Options
from diwan.embedded.supervisor import Stack


def short_folder() -> Path:
    """A folder that any user can pass through, short enough for a socket's path."""
    folder = Path(tempfile.mkdtemp(prefix="diwan-", dir="/tmp"))
    folder.chmod(0o711)
    return folder


@pytest.fixture
def folder() -> Generator[Path]:
    """A short folder, gone after the test."""
    made = short_folder()
    yield made
    shutil.rmtree(made)


@pytest.fixture
def shared_root(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Instead of /var/lib/diwan."""
    root = folder / "shared"
    monkeypatch.setattr(accounts, "SHARED_ROOT", root)
    return root


class Running:
    """The stack, and what it told the operator."""

    def __init__(self, stack: Stack, said: list[str]) -> None:
        self.stack = stack
        self.said = said


@pytest.fixture(scope="session")
async def running() -> AsyncGenerator[Running]:
    """A whole stack, as `diwan up` starts it."""
    said: list[str] = []
    home = short_folder() / "home"
    stack = Stack(
        Options(home=home, port=0),
        bootstrap=lambda parts: bootstrap(parts, clock=lambda: datetime.now(UTC), say=said.append),
        say=said.append,
    )
    await stack.start()
    yield Running(stack, said)
    await stack.stop()
    shutil.rmtree(home.parent)
