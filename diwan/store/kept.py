"""What may still be opened of a case: nothing that is erased, also while a process has its keys in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import text

from diwan.domain.errors import Erased, NotFound
from diwan.domain.ports import Cipher, RetentionClass
from diwan.store.connection import Connection
from diwan.store.erasures import erased_classes, erasures_of

Read = TypeVar("Read")
Missing = TypeVar("Missing")


@dataclass(frozen=True, slots=True)
class KeptCipher:
    """A case's cipher that opens nothing of erased classes, also while this process still has their keys in memory."""

    cipher: Cipher
    erased: Collection[RetentionClass]

    def seal(self, retention: RetentionClass, context: str, plaintext: bytes) -> bytes:
        self._refuse(retention)
        return self.cipher.seal(retention, context, plaintext)

    def open(self, retention: RetentionClass, context: str, ciphertext: bytes) -> bytes:
        self._refuse(retention)
        return self.cipher.open(retention, context, ciphertext)

    def _refuse(self, retention: RetentionClass) -> None:
        if retention in self.erased:
            raise Erased("vault.key_destroyed", "This is erased.", "It cannot be had back.")


async def unless_erased(reading: Awaitable[Read], otherwise: Missing) -> Read | Missing:
    """What is read; `otherwise` where there is none, or where its key is destroyed."""
    try:
        return await reading
    except NotFound:
        return otherwise


async def kept_cipher(conn: Connection, tenant: str, scope: str, cipher: Cipher) -> KeptCipher:
    """`cipher`, of a scope, as it may still be used: half a minute before this process hears it of the vault.

    What was sealed before its case was known is erased with that case (`scopes_of`).
    """
    before, _, id_ = scope.rpartition("/")
    found = (await conn.execute(_CASE_OF, {"tenant": tenant, "id": id_})).scalar_one_or_none() if before else scope
    return KeptCipher(cipher, erased_classes(await erasures_of(conn, tenant, found)) if found else set())


_CASE_OF = text(
    "SELECT case_id FROM inbox WHERE tenant = :tenant AND source = 'task' AND event_id = :id AND case_id IS NOT NULL"
)
