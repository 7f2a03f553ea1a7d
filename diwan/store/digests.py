"""Keyed digests of what was asked: the same request is known again, and nothing can be guessed from the digest."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785

from diwan.domain.errors import InvalidInput
from diwan.domain.ports import Keyring
from diwan.ledger.entry import canonical


async def keyed_digest(keyring: Keyring, tenant: str, purpose: str, value: Any) -> tuple[str, bytes]:
    """HMAC (hex) of a JSON value, and the canonical bytes that it is made over. Speaks with the vault.

    Raises `InvalidInput` for a value that has no canonical form, `Unavailable`.
    """
    try:
        encoded = canonical(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError):
        raise InvalidInput(
            "request.no_canonical_form",
            "The request holds a number or text that JSON cannot carry exactly.",
            "Send whole numbers below 2^53 and well-formed Unicode.",
        ) from None
    return await keyring.token(tenant, purpose, hashlib.sha256(encoded).hexdigest()), encoded
