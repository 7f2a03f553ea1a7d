"""The key-encryption keys in a file of the operator's, mode 0600, with a backup apart from the database's.

    {"format": "diwan-kek-1", "current": "<name>", "keys": {"<name>": "<32 bytes, base64url>"}}

A name is derived from its key, so a key under a wrong name is found when the file is read. `current` wraps new
keys; the others only unwrap what was wrapped before a rotation.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel, ConfigDict, ValidationError

from diwan.domain.errors import NeedsPerson, NotFound
from diwan.vault import aead, secretfile
from diwan.vault.keks import KeyEncryptionKeys

_RESTORE = "Restore the key file from its own backup; without it nothing that it protects can be read."
_Stamp = tuple[int, int, int]


class KeyFile(KeyEncryptionKeys):
    """The keys of one file. While they are held in memory the file itself may be away (on a stick, say)."""

    def __init__(self, path: Path, current: str, keys: Mapping[str, bytes], stamp: _Stamp | None = None) -> None:
        self._path = path
        self._stamp = stamp
        self._current = current
        self._keys = {name: AESGCM(key) for name, key in keys.items()}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a key file. Raises `NeedsPerson` when it is missing, exposed or malformed."""
        try:
            stamp = _stamp_of(path)
            current, keys = _read(path)
        except (NotFound, FileNotFoundError):
            raise NeedsPerson("vault.key_file_missing", f"The key file {path} does not exist.", _RESTORE) from None
        return cls(path, current, keys, stamp)

    @property
    def where(self) -> str:
        return f"the key file {self._path}"

    @property
    def remedy(self) -> str:
        return _RESTORE

    @property
    def current(self) -> str:
        return self._current

    def names(self) -> frozenset[str]:
        return frozenset(self._keys)

    def refresh(self) -> None:
        with contextlib.suppress(OSError):
            if (stamp := _stamp_of(self._path)) != self._stamp:
                current, keys = _read(self._path)
                self._stamp, self._current = stamp, current
                self._keys = {name: AESGCM(key) for name, key in keys.items()}

    def add(self) -> str:
        _, keys = _read(self._path)
        key = aead.new_key()
        name = name_of(key)
        secretfile.replace(self._path, _content(name, {**keys, name: key}))
        self.refresh()
        return name

    def remove(self, name: str) -> None:
        current, keys = _read(self._path)
        if keys.pop(name, None) is not None:
            secretfile.replace(self._path, _content(current, keys))
        self.refresh()

    def _seal(self, name: str, associated: bytes, key: bytes) -> bytes:
        return aead.seal(self._keys[name], associated, key)

    def _open(self, name: str, associated: bytes, wrapped: bytes) -> bytes:
        return aead.open_(self._keys[name], associated, wrapped)


def create(path: Path) -> None:
    """Make a key file with one new key. Raises `Conflict` when the file exists."""
    key = aead.new_key()
    secretfile.create(path, _content(name_of(key), {name_of(key): key}))


def load(path: Path) -> KeyFile:
    return KeyFile.load(path)


def name_of(key: bytes) -> str:
    """Name of a key-encryption key; tells nothing about it, since the key is 256 random bits."""
    return "kek-" + hashlib.sha256(b"diwan.kek\x00" + key).hexdigest()[:16]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    format: Literal["diwan-kek-1"]
    current: str
    keys: dict[str, str]


def _stamp_of(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> tuple[str, dict[str, bytes]]:
    content = secretfile.read(path)
    try:
        parsed = _File.model_validate_json(content)
        keys = {name: base64.b64decode(text, altchars=b"-_", validate=True) for name, text in parsed.keys.items()}
    except (ValidationError, ValueError):  # from None: both repeat what they read, and that is key material
        raise _malformed(path) from None
    if parsed.current not in keys or any(name_of(key) != name for name, key in keys.items()):
        raise _malformed(path)
    return parsed.current, keys


def _content(current: str, keys: Mapping[str, bytes]) -> bytes:
    encoded = {name: base64.urlsafe_b64encode(key).decode() for name, key in keys.items()}
    return json.dumps({"format": "diwan-kek-1", "current": current, "keys": encoded}, indent=1).encode() + b"\n"


def _malformed(path: Path) -> NeedsPerson:
    return NeedsPerson("vault.key_file_malformed", f"{path} is not a whole key file of this version.", _RESTORE)
