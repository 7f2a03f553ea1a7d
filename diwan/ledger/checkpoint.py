"""Checkpoints (c2sp.org/tlog-checkpoint) and what witnesses say of them (c2sp.org/tlog-cosignature).

A checkpoint is a log's word, signed, for what it holds: so many leaves, with this root. A cosignature is a witness's
word for having seen, at a time, that this log had only grown.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from diwan.domain.errors import Tampered
from diwan.ledger.entry import HASH_BYTES
from diwan.ledger.note import COSIGNATURE, Note, Signature, SigningKey, VerifierKey, check_signed, sign, unbase64
from diwan.ledger.tree import EMPTY_ROOT, MAX_SIZE

_SIZE = re.compile(r"0|[1-9]\d{0,15}", re.ASCII)
_TIME_BYTES = 8
_MAX_TIME = 2**63 - 1
_LATEST = 253_402_300_799  # the end of the year 9999, which is as far as people's dates go


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`root` is that of the log's first `size` leaves. `origin` names the log, and its key."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed: three lines, and no others."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Raises `Tampered` (`checkpoint.malformed`, `checkpoint.not_empty`). Lines beyond the three are refused: nobody
    vouches for them."""
    lines = text.split("\n")
    if len(lines) == 4 and lines[0] and _SIZE.fullmatch(lines[1]) and int(lines[1]) <= MAX_SIZE:
        try:
            checkpoint = Checkpoint(lines[0], int(lines[1]), unbase64(lines[2]))
        except ValueError:
            raise _malformed() from None
        if len(checkpoint.root) == HASH_BYTES and checkpoint.text == text:
            if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
                raise Tampered(
                    "checkpoint.not_empty", "The note is no checkpoint: of no entries, and with the root of some."
                )
            return checkpoint
    raise _malformed()


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> Note:
    """Signed by the log's key, whose name is the origin. Raises `ValueError` where it is not."""
    if key.name != checkpoint.origin:
        raise ValueError("a log's key bears the name of its origin")
    return sign(checkpoint.text, key)


def open_checkpoint(note: Note, key: VerifierKey) -> Checkpoint:
    """What the note says, if the log's key signed it and the origin is the key's name.

    Raises `Tampered` (`note.not_signed`, `note.bad_signature`, `checkpoint.malformed`, `checkpoint.other_log`).
    """
    check_signed(note, key)
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != key.name:
        raise Tampered("checkpoint.other_log", "The checkpoint is of another log than its key.")
    return checkpoint


def cosign(note: Note, key: SigningKey, seconds: int) -> Signature:
    """A witness's line for a checkpoint, `seconds` after 1970 began; `key` is of type 4."""
    if key.type != COSIGNATURE or not 0 < seconds <= _MAX_TIME:
        raise ValueError("a cosignature needs a key of type 4 and a time")
    return key.line(seconds.to_bytes(_TIME_BYTES, "big") + key.key.sign(_cosigned(note.text, seconds)))


def cosigned_at(note: Note, key: VerifierKey) -> int | None:
    """Seconds after 1970 at which this witness says it saw the checkpoint; None where it says nothing.

    Raises `Tampered` (`note.bad_signature`) where there is a line of its and it is wrong.
    """
    line = note.by(key)
    if line is None:
        return None
    seconds = int.from_bytes(line.content[:_TIME_BYTES], "big")
    signature = line.content[_TIME_BYTES:]
    if key.type != COSIGNATURE or not 0 < seconds <= _MAX_TIME:
        raise Tampered("note.bad_signature", f"The cosignature of {key.name} has no time.")
    if not key.verifies(signature, _cosigned(note.text, seconds)):
        raise Tampered("note.bad_signature", f"The cosignature of {key.name} does not verify.")
    return seconds


def claimed(note: Note) -> dict[str, int]:
    """Which lines that are not the log's say a time, and which: for people, and checked by nobody."""
    origin = note.text.partition("\n")[0]
    times = {
        line.name: int.from_bytes(line.content[:_TIME_BYTES], "big")
        for line in note.signatures
        if line.name != origin and len(line.content) > _TIME_BYTES
    }
    return {name: seconds for name, seconds in times.items() if 0 < seconds <= _LATEST}


def _cosigned(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _malformed() -> Tampered:
    return Tampered("checkpoint.malformed", "The note is signed and is no checkpoint.")
