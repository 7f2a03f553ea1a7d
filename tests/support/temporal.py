"""A real Temporal server for a folder's tests, and a client of it for each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from temporalio.client import Client

from diwan.embedded.temporal import EmbeddedTemporal
from diwan.temporal import connect


@pytest.fixture(scope="session")
async def server() -> AsyncGenerator[EmbeddedTemporal]:
    folder = Path(tempfile.mkdtemp(prefix="diwan-", dir="/tmp"))
    made = EmbeddedTemporal(folder)
    await made.start()
    yield made
    made.stop()
    shutil.rmtree(folder)


@pytest.fixture
async def temporal(server: EmbeddedTemporal) -> Client:
    """A client for each test: one client cannot have two workers on one queue, not even one after the other."""
    return await connect(server.address, server.namespace)
