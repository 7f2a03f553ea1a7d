"""Ports where siblings meet: the store enciphers without knowing the vault."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class RetentionClass(StrEnum):
    """One key per case and class: each can be destroyed at its own time."""

    DECISION = "decision"  # parties, reasons, proposals, decisions, letters
    EVIDENCE = "evidence"  # inbox bodies, documents, their text, facts
    EXCHANGE = "exchange"  # requests to models and their answers


class Cipher(Protocol):
    """Enciphers values of one scope (a case) under its keys; holds them in memory, does no I/O.

    `context` names the place of the value (`table.column/row-id`) and is bound as associated data: a
    ciphertext moved elsewhere does not open. Raises `Tampered` when it does not open.
    """

    def seal(self, retention: RetentionClass, context: str, plaintext: bytes) -> bytes: ...

    def open(self, retention: RetentionClass, context: str, ciphertext: bytes) -> bytes: ...


class Keyring(Protocol):
    """Gives ciphers; does I/O with the vault, so never call it while a case's row is locked.

    `cipher` creates the scope's keys durably when they do not exist. `token` is a keyed pseudonym
    (HMAC-SHA-256, hex) of a folded value for exact search within a tenant. Both raise `Unavailable`.
    """

    async def cipher(self, tenant: str, scope: str) -> Cipher: ...

    async def token(self, tenant: str, purpose: str, value: str) -> str: ...


class Eraser(Protocol):
    """Destroys keys of a scope for good: what was sealed under them is erased wherever it is, backups included.

    `order` is the hash (64 hex digits) of the ledger entry that asks for it. Answers when each key was destroyed, and
    the same when it is asked again, so it may be repeated after a crash. A class that never had a key never gets one.
    From then on ciphers raise `NotFound` (`vault.key_destroyed`) for it: those asked for later at once, those that a
    process has in memory within half a minute. Does I/O; raises `Unavailable`.
    """

    async def destroy(
        self, tenant: str, scope: str, classes: Collection[RetentionClass], order: str
    ) -> Mapping[RetentionClass, datetime]: ...


@dataclass(frozen=True, slots=True)
class KeyEpoch:
    """A key that wraps the keys of cases, by name: since when, and when it was destroyed."""

    name: str
    begun_at: datetime
    retired_at: datetime | None = None


class Epochs(Protocol):
    """Says which keys wrapped the keys of cases, the oldest first. Does I/O; raises `Unavailable`."""

    async def epochs(self) -> Sequence[KeyEpoch]: ...
