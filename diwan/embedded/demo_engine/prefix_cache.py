"""Token counts and a prefix cache as an engine has them, so that what is built on their numbers can be tried.

A token is four bytes of the request's messages; the cache keeps blocks of sixteen tokens, apart for each salt.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import Any

TOKEN_BYTES = 4
_BLOCK_BYTES = 16 * TOKEN_BYTES
_MOST_BLOCKS = 100_000


def tokens_of(text: str) -> int:
    return -(-len(text.encode()) // TOKEN_BYTES)


def prompt_of(request: dict[str, Any]) -> str:
    """Tools first, then messages in order: a request that appends messages extends this text."""
    parts: list[Any] = [request.get("tools") or [], *request.get("messages", [])]
    return "\n".join(json.dumps(part, ensure_ascii=False, sort_keys=True) for part in parts)


class PrefixCache:
    def __init__(self) -> None:
        self._blocks: OrderedDict[bytes, None] = OrderedDict()
        self.queries = 0
        self.hits = 0

    def cached_tokens(self, prompt: str, salt: str) -> int:
        """Tokens at the beginning of `prompt` that were computed before under `salt`; remembers all of it."""
        data = prompt.encode()
        digest = hashlib.sha256(salt.encode()).digest()
        cached, unbroken = 0, True
        for start in range(0, len(data) - _BLOCK_BYTES + 1, _BLOCK_BYTES):
            digest = hashlib.sha256(digest + data[start : start + _BLOCK_BYTES]).digest()
            unbroken = unbroken and digest in self._blocks
            cached += 16 if unbroken else 0
            self._blocks[digest] = None
            self._blocks.move_to_end(digest)
        while len(self._blocks) > _MOST_BLOCKS:
            self._blocks.popitem(last=False)
        self.queries += tokens_of(prompt)
        self.hits += cached
        return cached
