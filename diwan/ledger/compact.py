"""Reads the compact forms of the ledger, which a code on paper carries: so many bytes, and no more than there are."""

from __future__ import annotations

from diwan.domain.errors import Tampered


class Compact:
    """`content` from its beginning; whatever asks for more than is left gets `malformed`."""

    def __init__(self, content: bytes, malformed: Tampered) -> None:
        self._content = content
        self._malformed = malformed
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at == len(self._content)

    def take(self, count: int) -> bytes:
        self._at += count
        if self._at > len(self._content):
            raise self._malformed
        return self._content[self._at - count : self._at]

    def number(self, width: int = 1) -> int:
        """Big-endian."""
        return int.from_bytes(self.take(width), "big")
