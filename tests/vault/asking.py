"""The vault's application, asked in this process by each of its callers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest

from diwan.vault import callers
from diwan.vault.callers import Caller
from diwan.vault.keystore import KeyStore
from diwan.vault.server import create_app

NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
TOKENS = {caller: callers.new_token() for caller in Caller}


@pytest.fixture
async def http(store: KeyStore) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(store, {caller: callers.hash_of(token) for caller, token in TOKENS.items()}, clock=lambda: NOW)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://vault") as client:
        yield client


def as_(caller: Caller) -> dict[str, str]:
    return {"authorization": f"Bearer {TOKENS[caller]}"}
