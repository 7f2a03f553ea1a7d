"""Opens what is sealed beside an entry's header, and checks it against what the header commits to."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
import rfc8785
from pydantic import JsonValue

from diwan.domain.errors import Final, Tampered
from diwan.domain.ports import Cipher, RetentionClass
from diwan.ledger.entry import canonical, commit_digest, digest_of
from diwan.ledger.fields import FIELDS, commit_fields
from diwan.store.entries import BODY, body_context


def keys_scope(chain: str, header: bytes) -> str:
    """The scope of the keys that what is sealed beside a header is under: the case's, or that of a chain outside cases,
    unless the header names another."""
    if "/" not in chain:
        return chain
    try:
        return str(orjson.loads(header)["detail"]["keys"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return chain


@dataclass(frozen=True, slots=True)
class OpenedEntry:
    """What is sealed beside a header: salt and digest of each value committed to, and its body with the body's seed.

    Entries of before 2026-12 committed to a body as a whole (name `body`): those have no seed.
    """

    committed: Mapping[str, tuple[bytes, bytes]]
    body: Mapping[str, JsonValue] | None
    seed: bytes | None

    def check(self, commitments: Mapping[str, str]) -> None:
        """Raises `Tampered` (`body.commitment_differs`) where a header with these commits to anything else."""
        try:
            again = {name: commit_digest(*pair) for name, pair in self.committed.items()}
            if self.seed is not None and self.body is not None:
                again[FIELDS] = commit_fields(self.seed, self.body)
            elif self.body is not None and self.committed[BODY][1] != digest_of(canonical(self.body)):
                raise _differs()
        except (Final, KeyError, rfc8785.CanonicalizationError):
            raise _differs() from None
        if again != commitments:
            raise _differs()


def _differs() -> Tampered:
    return Tampered("body.commitment_differs", "the header commits to other values than those sealed")


def open_entry(cipher: Cipher, chain: str, seq: int, sealed: bytes) -> OpenedEntry:
    """What is sealed beside the header. Raises `NotFound` where its key is destroyed, `Tampered` where it does not
    open."""
    opened = cipher.open(RetentionClass.DECISION, body_context(chain, seq), sealed)
    try:
        said = orjson.loads(opened)
        committed = {name: (_unb64(salt), _unb64(digest)) for name, (salt, digest) in said["committed"].items()}
        return OpenedEntry(committed, said.get("body"), _unb64(said["seed"]) if "seed" in said else None)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        raise Tampered("body.does_not_open", "what is sealed beside the header does not open") from None


def _unb64(value: str) -> bytes:
    return base64.b64decode(value, validate=True)
