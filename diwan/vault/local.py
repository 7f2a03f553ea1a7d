"""A keyring over a key store in the same process: for tests, and for tools that hold the key file themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from diwan.vault import keyfile, pseudonym
from diwan.vault.cipher import CaseCipher
from diwan.vault.keystore import KeyStore


class LocalKeyring:
    """Implements `diwan.domain.ports.Keyring` without a process, cache or token of its own."""

    def __init__(self, store: KeyStore, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._clock = clock

    @classmethod
    def in_folder(cls, folder: Path) -> LocalKeyring:
        """A new keyring with new keys in an existing folder without one."""
        KeyStore.create(folder / "vault.sqlite")
        keyfile.create(folder / "kek.json")
        return cls(KeyStore.open(folder / "vault.sqlite", keyfile.load(folder / "kek.json")))

    async def cipher(self, tenant: str, scope: str) -> CaseCipher:
        keys = await asyncio.to_thread(self._store.keys, tenant, scope, create=True, now=self._clock())
        return CaseCipher(tenant, scope, keys)

    async def token(self, tenant: str, purpose: str, value: str) -> str:
        key = await asyncio.to_thread(self._store.pseudonym_key, tenant, create=True, now=self._clock())
        return pseudonym.token_of(key, purpose, pseudonym.digest_of(tenant, purpose, value))

    def close(self) -> None:
        self._store.close()
