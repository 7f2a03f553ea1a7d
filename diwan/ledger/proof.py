"""Proofs of one entry (c2sp.org/tlog-proof): where it is in the log, and the checkpoint that says so.

A proof stands by itself: with the entry, the log's key and a policy (policy.py) it is checked with no network and no
service, years later.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from diwan.domain.errors import Tampered
from diwan.ledger.checkpoint import Checkpoint, parse_checkpoint
from diwan.ledger.entry import HASH_BYTES, entry_hash
from diwan.ledger.note import MAX_BYTES, Note, parse_note, unbase64
from diwan.ledger.policy import Policy
from diwan.ledger.tree import check_inclusion

_FIRST = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9]\d{0,15})", re.ASCII)
_MAX_HASHES = 63


@dataclass(frozen=True, slots=True)
class EntryProof:
    """`hashes` are beside the entry's way up, lowest first; `extra` is what the application adds, vouched for by
    nobody."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes = b""

    def __bytes__(self) -> bytes:
        lines = [_FIRST]
        if self.extra:
            lines.append(f"extra {_base64(self.extra)}")
        lines += [f"index {self.index}", *map(_base64, self.hashes), ""]
        return "".join(f"{line}\n" for line in lines).encode() + bytes(self.checkpoint)


def parse_proof(content: bytes) -> EntryProof:
    """Raises `Tampered` (`proof.malformed`, or of its checkpoint) for anything that is not spelled as it is here."""
    head, blank, note = content[: 2 * MAX_BYTES].partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
        extra = unbase64(lines.pop(1)[len("extra ") :]) if lines[1:2] and lines[1].startswith("extra ") else b""
        index = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
        hashes = tuple(map(unbase64, lines[2:]))
    except ValueError:
        raise _malformed() from None
    if not blank or lines[0] != _FIRST or index is None or len(hashes) > _MAX_HASHES:
        raise _malformed()
    proof = EntryProof(int(index[1]), hashes, parse_note(note), extra)
    parse_checkpoint(proof.checkpoint.text)
    if any(len(each) != HASH_BYTES for each in hashes) or bytes(proof) != content:
        raise _malformed()
    return proof


def check_proof(proof: EntryProof, entry: bytes, policy: Policy) -> Checkpoint:
    """The checkpoint in which the policy's log, and witnesses enough, say that `entry` (its header's bytes) stands.

    Raises `Tampered` with the first thing that does not hold.
    """
    checkpoint = policy.checkpoint(proof.checkpoint)
    check_inclusion(proof.index, checkpoint.size, entry_hash(entry), proof.hashes, checkpoint.root)
    return checkpoint


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _malformed() -> Tampered:
    return Tampered("proof.malformed", "That is not a proof of an entry.")
