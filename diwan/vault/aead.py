"""AES-256-GCM as both layers of the vault use it: one format, one way to bind associated data.

A sealed value is 1 byte version (0x01), 12 bytes random nonce, ciphertext, 16 bytes tag. Random 96-bit nonces
are safe for 2**32 values under one key (NIST SP 800-38D, 8.3); a key here serves one case and class.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from diwan.domain.errors import Tampered

VERSION = b"\x01"
NONCE_BYTES = 12
OVERHEAD_BYTES = len(VERSION) + NONCE_BYTES + 16
KEY_BYTES = 32


def frame(*parts: str) -> bytes:
    """Injective encoding of a list of strings: count, then each as 4-byte big-endian length and UTF-8.

    Two different lists never give the same bytes, whatever separators the strings contain.
    """
    framed = [len(parts).to_bytes(4, "big")]
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        framed += (len(encoded).to_bytes(4, "big"), encoded)
    return b"".join(framed)


def new_key() -> bytes:
    return AESGCM.generate_key(bit_length=KEY_BYTES * 8)


def seal(key: AESGCM, associated: bytes, plaintext: bytes) -> bytes:
    """Sealed value under a fresh nonce; the format's version is authenticated with `associated`."""
    nonce = os.urandom(NONCE_BYTES)
    return VERSION + nonce + key.encrypt(nonce, plaintext, VERSION + associated)


def open_(key: AESGCM, associated: bytes, sealed: bytes) -> bytes:
    """Plaintext of a sealed value; raises `Tampered` when anything about it is not as it was sealed."""
    if len(sealed) < OVERHEAD_BYTES or sealed[:1] != VERSION:
        raise Tampered("cipher.format_unknown", "A sealed value has no format that this version knows.", _REMEDY)
    nonce = sealed[1 : 1 + NONCE_BYTES]
    try:
        return key.decrypt(nonce, sealed[1 + NONCE_BYTES :], VERSION + associated)
    except InvalidTag:
        raise Tampered(
            "cipher.does_not_open", "A sealed value was changed, moved, or its key is wrong.", _REMEDY
        ) from None


_REMEDY = "Do not go on with it: compare with a backup, and verify the case's ledger."
