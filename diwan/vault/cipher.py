"""The cipher of one scope (a case): keys in memory, no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from diwan.domain.errors import Erased, NotFound
from diwan.domain.ports import RetentionClass
from diwan.vault import aead


class CaseCipher:
    """Implements `diwan.domain.ports.Cipher`; aead.py has the format.

    The associated data binds tenant, scope, retention class and context, so a sealed value opens only where it
    was sealed. `keys` maps each class to its 32-byte key, or to None once that key was destroyed.
    """

    def __init__(self, tenant: str, scope: str, keys: Mapping[RetentionClass, bytes | None]) -> None:
        self._tenant = tenant
        self._scope = scope
        self._keys = {retention: AESGCM(key) if key is not None else None for retention, key in keys.items()}

    def seal(self, retention: RetentionClass, context: str, plaintext: bytes) -> bytes:
        """Raises `Erased` when the key of the class was destroyed."""
        return aead.seal(self._key(retention), self._associated(retention, context), plaintext)

    def open(self, retention: RetentionClass, context: str, ciphertext: bytes) -> bytes:
        """Raises `Tampered` when it does not open, `Erased` when the key of the class was destroyed."""
        return aead.open_(self._key(retention), self._associated(retention, context), ciphertext)

    def _associated(self, retention: RetentionClass, context: str) -> bytes:
        return aead.frame("diwan.value", self._tenant, self._scope, retention.value, context)

    def _key(self, retention: RetentionClass) -> AESGCM:
        if retention not in self._keys:
            raise NotFound("vault.key_not_found", f"There is no {retention.value} key for this scope.", "")
        key = self._keys[retention]
        if key is None:
            raise Erased(
                "vault.key_destroyed",
                f"The {retention.value} key of this scope was destroyed, and its values are erased with it.",
                "They cannot be had back; the ledger still proves what they were committed to.",
            )
        return key
