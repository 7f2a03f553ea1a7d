"""What a witness is asked (c2sp.org/tlog-witness, add-checkpoint), and the proof of growth that travels by file.

    old SIZE
    <hash in base64>, each on a line, at most 63
    <an empty line>
    <the checkpoint, a signed note>

It says: the log of the checkpoint begins with the tree of SIZE entries that you know.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from diwan.domain.errors import Tampered
from diwan.ledger.checkpoint import Checkpoint, parse_checkpoint
from diwan.ledger.entry import HASH_BYTES
from diwan.ledger.note import MAX_BYTES, Note, parse_note, unbase64
from diwan.ledger.tree import EMPTY_ROOT, check_consistency

MAX_HASHES = 63
MAX_REQUEST_BYTES = MAX_BYTES + 64 * (MAX_HASHES + 1)
_OLD = re.compile(r"old (0|[1-9]\d{0,15})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Growth:
    """`proof` is to show that the tree of `old` entries is the beginning of that of the checkpoint in `note`."""

    old: int
    proof: tuple[bytes, ...]
    note: Note

    def __bytes__(self) -> bytes:
        lines = [f"old {self.old}", *(base64.b64encode(each).decode() for each in self.proof), ""]
        return "".join(f"{line}\n" for line in lines).encode() + bytes(self.note)

    def check_from(self, old_root: bytes) -> Checkpoint:
        """The checkpoint, which grew from `old` entries with this root. Raises `Tampered` (`proof.not_consistent`).

        Who signed the note is not looked at here.
        """
        checkpoint = parse_checkpoint(self.note.text)
        check_consistency(self.old, old_root if self.old else EMPTY_ROOT, checkpoint.size, checkpoint.root, self.proof)
        return checkpoint


def parse_growth(content: bytes) -> Growth:
    """Raises `Tampered` (`growth.malformed`, or of its note) for anything that is not spelled as it is here."""
    head, blank, note = content[:MAX_REQUEST_BYTES].partition(b"\n\n")
    try:
        first, *lines = head.decode("ascii").split("\n")
        hashes = tuple(map(unbase64, lines))
    except ValueError:
        raise _malformed() from None
    old = _OLD.fullmatch(first)
    if not blank or old is None or len(hashes) > MAX_HASHES or any(len(each) != HASH_BYTES for each in hashes):
        raise _malformed()
    growth = Growth(int(old[1]), hashes, parse_note(note))
    if bytes(growth) != content:
        raise _malformed()
    return growth


def _malformed() -> Tampered:
    return Tampered("growth.malformed", "That does not say how a log grew (c2sp.org/tlog-witness).")
