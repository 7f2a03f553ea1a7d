"""Keyed pseudonyms for exact search: HMAC-SHA-256 under a key of the tenant that never leaves the vault.

The caller sends only a digest of the value, so neither a name nor an identity number travels to the vault; the
key stays inside, so a stolen caller's memory and a stolen database together do not allow guessing offline.
"""

from __future__ import annotations

import hashlib
import hmac

from diwan.vault.aead import frame


def digest_of(tenant: str, purpose: str, value: str) -> bytes:
    """32 bytes that the caller computes from a folded value."""
    return hashlib.sha256(frame("diwan.pseudonym", tenant, purpose, value)).digest()


def token_of(key: bytes, purpose: str, digest: bytes) -> str:
    """The pseudonym, 64 hex digits, that the vault computes from the digest."""
    return hmac.new(key, frame("diwan.pseudonym", purpose) + digest, hashlib.sha256).hexdigest()
