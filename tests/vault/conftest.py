"""Fixtures of the vault's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from diwan.vault import database, keyfile
from diwan.vault.keystore import KeyStore
from tests.vault.keeping import only_token as only_token
from tests.vault.keeping import token as token
from tests.vault.running import Vault, running


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder whose path is short: pytest's own is too long for a unix socket."""
    made = Path(tempfile.mkdtemp(prefix="dv-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def vault(folder: Path) -> Iterator[Vault]:
    """A vault in a process of its own."""
    with running(folder) as started:
        yield started


@pytest.fixture
def store(folder: Path) -> Iterator[KeyStore]:
    """An empty key store in this process; its files are `kek.json` and `vault.sqlite` in `folder`."""
    database.create(folder / "vault.sqlite")
    keyfile.create(folder / "kek.json")
    opened = KeyStore.open(folder / "vault.sqlite", keyfile.load(folder / "kek.json"))
    yield opened
    opened.close()
