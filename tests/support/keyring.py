"""A keyring in memory: real AES-256-GCM bound to its place, no vault process. For tests of other parts."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from diwan.domain.errors import Erased, Tampered
from diwan.domain.ports import RetentionClass


class MemoryCipher:
    def __init__(
        self, tenant: str, scope: str, key: bytes, destroyed: Collection[RetentionClass] = frozenset()
    ) -> None:
        self._place = f"{tenant}\x1f{scope}"
        self._key = key
        self._destroyed = destroyed

    def seal(self, retention: RetentionClass, context: str, plaintext: bytes) -> bytes:
        nonce = secrets.token_bytes(12)
        return b"\x01" + nonce + self._aead(retention).encrypt(nonce, plaintext, self._data(retention, context))

    def open(self, retention: RetentionClass, context: str, ciphertext: bytes) -> bytes:
        try:
            return self._aead(retention).decrypt(ciphertext[1:13], ciphertext[13:], self._data(retention, context))
        except (InvalidTag, ValueError):  # ValueError: too short to be one of ours
            raise Tampered("cipher.does_not_open", "A stored value does not open.") from None

    def _aead(self, retention: RetentionClass) -> AESGCM:
        if retention in self._destroyed:
            raise Erased("vault.key_destroyed", f"The {retention.value} key of this scope was destroyed.", "")
        return AESGCM(hmac.new(self._key, retention.value.encode(), hashlib.sha256).digest())

    def _data(self, retention: RetentionClass, context: str) -> bytes:
        return f"{self._place}\x1f{retention.value}\x1f{context}".encode()


class MemoryKeyring:
    """`scopes` are those that keys were made for, so a test can see when keys came to be.

    `destroyed` says of each destroyed key when, `orders` by which ledger entry.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._root = secrets.token_bytes(32)
        self._clock = clock
        self.scopes: set[tuple[str, str]] = set()
        self.destroyed: dict[tuple[str, str], dict[RetentionClass, datetime]] = {}
        self.orders: dict[tuple[str, str, RetentionClass], str] = {}

    async def cipher(self, tenant: str, scope: str) -> MemoryCipher:
        self.scopes.add((tenant, scope))
        key = hmac.new(self._root, f"{tenant}/{scope}".encode(), hashlib.sha256).digest()
        return MemoryCipher(tenant, scope, key, frozenset(self.destroyed.get((tenant, scope), ())))

    async def destroy(
        self, tenant: str, scope: str, classes: Collection[RetentionClass], order: str
    ) -> Mapping[RetentionClass, datetime]:
        buried = self.destroyed.setdefault((tenant, scope), {})
        for retention in classes:
            buried.setdefault(retention, self._clock())
            self.orders.setdefault((tenant, scope, retention), order)
        return {retention: buried[retention] for retention in classes}

    async def token(self, tenant: str, purpose: str, value: str) -> str:
        return hmac.new(self._root, f"token/{tenant}/{purpose}/{value}".encode(), hashlib.sha256).hexdigest()
