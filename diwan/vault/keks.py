"""Key-encryption keys, whatever holds them: each has a name, one is current and wraps new keys, all unwrap.

Two kinds: a file of the operator's (keyfile.py) and a token that speaks PKCS#11 (hsm.py). A rotation adds a key,
which becomes the current one; what others wrapped is wrapped anew, then they are retired (rotation.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from diwan.domain.errors import NeedsPerson, Tampered
from diwan.vault import aead


class KeyEncryptionKeys(ABC):
    """Wraps and unwraps data keys. The associated data binds tenant, scope, class and the wrapping key's name."""

    def wrap(self, key: bytes, tenant: str, scope: str, class_: str) -> tuple[str, bytes]:
        """The current key's name, and a data key wrapped under it: 61 bytes."""
        name = self.current
        return name, self._seal(name, _associated(tenant, scope, class_, name), key)

    def unwrap(self, name: str, wrapped: bytes, tenant: str, scope: str, class_: str) -> bytes:
        """Raises `NeedsPerson` when there is no key `name`, `Tampered` when it does not unwrap."""
        if name not in self:
            self.refresh()  # another process may have added it
        if name not in self:
            raise self.missing(name)
        try:
            return self._open(name, _associated(tenant, scope, class_, name), wrapped)
        except Tampered:
            raise Tampered(
                "vault.key_does_not_unwrap",
                f"A stored {class_} key does not unwrap: its row was changed or moved.",
                "Stop the vault and restore its database from a backup.",
            ) from None

    def missing(self, name: str) -> NeedsPerson:
        return NeedsPerson("vault.wrong_key_file", f"Keys were wrapped under {name}, not in {self.where}.", self.remedy)

    @property
    @abstractmethod
    def where(self) -> str:
        """What holds the keys, for people."""

    @property
    @abstractmethod
    def remedy(self) -> str:
        """What to do where a key is not there."""

    @property
    @abstractmethod
    def current(self) -> str: ...

    @abstractmethod
    def names(self) -> frozenset[str]: ...

    @abstractmethod
    def refresh(self) -> None:
        """See what another process added or retired. Cheap: it is asked before each new key."""

    @abstractmethod
    def add(self) -> str:
        """Make a new key, durably; it is the current one from now on. One process at a time."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Destroy a key; nothing may be wrapped under it. One process at a time."""

    @abstractmethod
    def _seal(self, name: str, associated: bytes, key: bytes) -> bytes: ...

    @abstractmethod
    def _open(self, name: str, associated: bytes, wrapped: bytes) -> bytes: ...

    def __contains__(self, name: str) -> bool:
        return name in self.names()


def _associated(tenant: str, scope: str, class_: str, name: str) -> bytes:
    return aead.frame("diwan.key", tenant, scope, class_, name)
