"""A keyring in memory: real AES-256-GCM bound to its place, no vault process. For tests of other parts."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from diwan.domain.errors import Tampered
from diwan.domain.ports import RetentionClass


class MemoryCipher:
    def __init__(self, tenant: str, scope: str, key: bytes) -> None:
        self._place = f"{tenant}\x1f{scope}"
        self._key = key

    def seal(self, retention: RetentionClass, context: str, plaintext: bytes) -> bytes:
        nonce = secrets.token_bytes(12)
        return b"\x01" + nonce + self._aead(retention).encrypt(nonce, plaintext, self._data(retention, context))

    def open(self, retention: RetentionClass, context: str, ciphertext: bytes) -> bytes:
        try:
            return self._aead(retention).decrypt(ciphertext[1:13], ciphertext[13:], self._data(retention, context))
        except (InvalidTag, ValueError):  # ValueError: too short to be one of ours
            raise Tampered("cipher.does_not_open", "A stored value does not open.") from None

    def _aead(self, retention: RetentionClass) -> AESGCM:
        return AESGCM(hmac.new(self._key, retention.value.encode(), hashlib.sha256).digest())

    def _data(self, retention: RetentionClass, context: str) -> bytes:
        return f"{self._place}\x1f{retention.value}\x1f{context}".encode()


class MemoryKeyring:
    """`scopes` are those that keys were made for, so a test can see when keys came to be."""

    def __init__(self) -> None:
        self._root = secrets.token_bytes(32)
        self.scopes: set[tuple[str, str]] = set()

    async def cipher(self, tenant: str, scope: str) -> MemoryCipher:
        self.scopes.add((tenant, scope))
        return MemoryCipher(tenant, scope, hmac.new(self._root, f"{tenant}/{scope}".encode(), hashlib.sha256).digest())

    async def token(self, tenant: str, purpose: str, value: str) -> str:
        return hmac.new(self._root, f"token/{tenant}/{purpose}/{value}".encode(), hashlib.sha256).hexdigest()
