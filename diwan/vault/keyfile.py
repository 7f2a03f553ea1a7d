"""The key-encryption keys: a file of the operator's, mode 0600, with a backup apart from the database's.

    {"format": "diwan-kek-1", "current": "<id>", "keys": {"<id>": "<32 bytes, base64url>"}}

An id is derived from its key, so a key under a wrong name is found when the file is read. `current` wraps new
keys; the others only unwrap what was wrapped before a rotation.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel, ConfigDict, ValidationError

from diwan.domain.errors import NeedsPerson, NotFound, Tampered
from diwan.vault import aead, secretfile

_RESTORE = "Restore the key file from its own backup; without it nothing that it protects can be read."


class KeyEncryptionKeys:
    """Wraps and unwraps data keys. AAD binds tenant, scope, class and the id of the wrapping key."""

    def __init__(self, current: str, keys: Mapping[str, bytes]) -> None:
        self.current = current
        self._keys = {name: AESGCM(key) for name, key in keys.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._keys

    def wrap(self, key: bytes, tenant: str, scope: str, class_: str) -> bytes:
        """A data key wrapped under the current key-encryption key: 61 bytes."""
        return aead.seal(self._keys[self.current], _associated(tenant, scope, class_, self.current), key)

    def unwrap(self, name: str, wrapped: bytes, tenant: str, scope: str, class_: str) -> bytes:
        """Raises `NeedsPerson` when the key file lacks `name`, `Tampered` when it does not unwrap."""
        if name not in self._keys:
            raise missing(name)
        try:
            return aead.open_(self._keys[name], _associated(tenant, scope, class_, name), wrapped)
        except Tampered:
            raise Tampered(
                "vault.key_does_not_unwrap",
                f"A stored {class_} key does not unwrap: its row was changed or moved.",
                "Stop the vault and restore its database from a backup.",
            ) from None


def missing(name: str) -> NeedsPerson:
    return NeedsPerson(
        "vault.wrong_key_file", f"The vault's keys were wrapped under {name}, not in this file.", _RESTORE
    )


def create(path: Path) -> None:
    """Make a key file with one new key. Raises `Conflict` when the file exists."""
    key = aead.new_key()
    name = name_of(key)
    content = {"format": "diwan-kek-1", "current": name, "keys": {name: base64.urlsafe_b64encode(key).decode()}}
    secretfile.create(path, json.dumps(content, indent=1).encode() + b"\n")


def load(path: Path) -> KeyEncryptionKeys:
    """Read and check a key file. Raises `NeedsPerson` when it is missing, exposed or malformed."""
    try:
        content = secretfile.read(path)
    except NotFound:
        raise NeedsPerson("vault.key_file_missing", f"The key file {path} does not exist.", _RESTORE) from None
    try:
        parsed = _File.model_validate_json(content)
        keys = {name: base64.b64decode(text, altchars=b"-_", validate=True) for name, text in parsed.keys.items()}
    except (ValidationError, ValueError):  # from None: both repeat what they read, and that is key material
        raise _malformed(path) from None
    if parsed.current not in keys or any(name_of(key) != name for name, key in keys.items()):
        raise _malformed(path)
    return KeyEncryptionKeys(parsed.current, keys)


def name_of(key: bytes) -> str:
    """Id of a key-encryption key; tells nothing about it, since the key is 256 random bits."""
    return "kek-" + hashlib.sha256(b"diwan.kek\x00" + key).hexdigest()[:16]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    format: Literal["diwan-kek-1"]
    current: str
    keys: dict[str, str]


def _associated(tenant: str, scope: str, class_: str, name: str) -> bytes:
    return aead.frame("diwan.key", tenant, scope, class_, name)


def _malformed(path: Path) -> NeedsPerson:
    return NeedsPerson("vault.key_file_malformed", f"{path} is not a whole key file of this version.", _RESTORE)
