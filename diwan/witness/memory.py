"""What a witness keeps on its own disk: its key, whom it follows, and the checkpoint that it cosigned last of each log.

    key              secret, in the form of Go's note package
    logs/<log>.keys  the log's verifier key: whose signature counts now
    seen/<log>.note  what was cosigned last, under the log's signatures and this witness's: on disk before the answer

A log is begun when somebody says that it is followed, with a note of the empty tree. So a log without its note is one
whose memory was lost, and nothing of it is cosigned until somebody finds out why (docs/witnesses.md).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from diwan import kept_notes
from diwan.domain.errors import Conflict, InvalidInput, NeedsPerson, NotFound, Refused, Tampered
from diwan.ledger.checkpoint import Checkpoint, cosign, cosigned_at, parse_checkpoint
from diwan.ledger.note import (
    COSIGNATURE,
    ED25519,
    Note,
    SigningKey,
    VerifierKey,
    check_signed,
    new_key,
    parse_note,
    parse_signing_key,
    parse_vkey,
)
from diwan.ledger.tree import EMPTY_ROOT
from diwan.ledger.witnessed import Growth
from diwan.vault import secretfile


class AnotherSize(Conflict):
    """The growth that is shown begins elsewhere than where this witness left off, which is at `size`."""

    def __init__(self, size: int) -> None:
        super().__init__(
            "witness.another_size",
            f"This witness cosigned {size} entries of that log last.",
            "Show how the log grew from there.",
        )
        self.size = size


@dataclass(frozen=True, slots=True)
class Followed:
    """A log, whose signatures count, and how many entries of it were cosigned last."""

    origin: str
    keys: tuple[VerifierKey, ...]
    size: int


def initialise(folder: Path, name: str) -> VerifierKey:
    """Makes the folder with a key of this name, once; what is published of the key."""
    for each in (folder, folder / "logs", folder / "seen"):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = new_key(name, COSIGNATURE)
    secretfile.create(folder / "key", f"{key}\n".encode())
    return key.verifier


class Memory:
    """Of those who cosign, one process at a time; who only looks, or says whom to follow, is not `cosigning`.

    Raises `NeedsPerson` (`witness.not_made`) where the folder was never made.
    """

    def __init__(self, folder: Path, clock: Callable[[], datetime], *, cosigning: bool = True) -> None:
        self._logs, self._seen = folder / "logs", folder / "seen"
        self._clock = clock
        try:
            text = secretfile.read(folder / "key").decode("utf-8", "replace").rstrip("\n")
        except NotFound:
            raise NeedsPerson(
                "witness.not_made", f"There is no witness in {folder}.", "Make one, once: `diwan witness init NAME`."
            ) from None
        self._key: SigningKey = parse_signing_key(text)
        if self._key.type != COSIGNATURE:
            raise NeedsPerson("witness.other_key", f"The key in {folder} is not a witness's.", "Restore its own key.")
        self._lock: int | None = kept_notes.locked(folder, "witness") if cosigning else None

    def close(self) -> None:
        """Another process may use the folder then. May be repeated."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def verifier(self) -> VerifierKey:
        return self._key.verifier

    def follow(self, key: VerifierKey) -> None:
        """From now on this key and no other counts for its log; what was seen of the log stays.

        Note first, then key: a crash between leaves a note of a log that is not followed, and it is found again. A note
        of the empty tree never takes another's place: two may say at once whom to follow, while a third cosigns.
        """
        origin = key.name
        if key.type != ED25519:
            raise InvalidInput("witness.not_a_log", "That is a witness's key, not a log's.", "See `diwan ledger vkey`.")
        note, keys = kept_notes.file_of(self._seen, origin, "note"), kept_notes.file_of(self._logs, origin, "keys")
        if not keys.exists() and not note.exists():
            empty = self._cosigned(Note(Checkpoint(origin, 0, EMPTY_ROOT).text, ()), 0)
            with contextlib.suppress(Conflict):
                secretfile.create(note, bytes(empty))
        self._last(origin)
        kept_notes.replace(keys, f"{key}\n".encode())

    def followed(self) -> list[Followed]:
        """By name. Raises where what was seen of one cannot be read."""
        found: list[Followed] = []
        for path in self._logs.glob("*.keys"):
            keys = _keys_in(path)
            origin = keys[0].name
            found.append(Followed(origin, keys, parse_checkpoint(self._last(origin).text).size))
        return sorted(found, key=lambda each: each.origin)

    def last(self, origin: str) -> Note:
        """What was cosigned last. Raises `NotFound` for a log that is not followed, or of which nothing was."""
        self._keys_of(origin)
        note = self._last(origin)
        if parse_checkpoint(note.text).size == 0:
            raise _unknown()
        return note

    def add(self, growth: Growth) -> Note:
        """The checkpoint under the log's signature and this witness's, if the log is shown to have only grown.

        Raises, in this order: `NotFound` (a log that is not followed), `Refused` (not signed by it), `InvalidInput` (it
        grew from more than it has), `AnotherSize`, `Tampered` (`proof.not_consistent`: perhaps a split view;
        `witness.other_root`: one, of as many entries).
        """
        checkpoint = parse_checkpoint(growth.note.text)
        lines = [key for key in self._keys_of(checkpoint.origin) if growth.note.by(key) is not None]
        try:
            for key in lines:
                check_signed(growth.note, key)
        except Tampered:
            lines = []
        if not lines:
            raise Refused(
                "witness.not_signed",
                "No key that counts for this log signed the checkpoint.",
                "Tell the witness's operator the key that signs now, alone: `diwan ledger vkey`.",
            )
        if growth.old > checkpoint.size:
            raise InvalidInput("witness.old_beyond", "The log grew from more entries than it has.", "")
        before = self._last(checkpoint.origin)
        known = parse_checkpoint(before.text)
        if growth.old != known.size:
            raise AnotherSize(known.size)
        if growth.old and not growth.proof and checkpoint.size == known.size and checkpoint.root != known.root:
            raise Tampered("witness.other_root", "This witness cosigned another root of as many entries.")
        growth.check_from(known.root)
        signed = tuple(line for key in lines if (line := growth.note.by(key)) is not None)
        cosigned = self._cosigned(Note(growth.note.text, signed), cosigned_at(before, self.verifier) or 0)
        kept_notes.replace(kept_notes.file_of(self._seen, checkpoint.origin, "note"), bytes(cosigned))
        return cosigned

    def add_or_repeat(self, growth: Growth) -> Note:
        """As `add`; the same checkpoint again gives what was cosigned, for whoever lost it before it was in a file."""
        try:
            return self.add(growth)
        except AnotherSize:
            last = self._last(parse_checkpoint(growth.note.text).origin)
            if last.text != growth.note.text:
                raise
            return last

    def _cosigned(self, note: Note, not_before: int) -> Note:
        """Time never goes back in what is cosigned, whatever the clock does: the largest tree is the latest."""
        return note.with_lines([cosign(note, self._key, max(int(self._clock().timestamp()), not_before))])

    def _last(self, origin: str) -> Note:
        """Its own signature says that what it reads is what it wrote."""
        try:
            note = parse_note(kept_notes.file_of(self._seen, origin, "note").read_bytes())
            if cosigned_at(note, self.verifier) is None or parse_checkpoint(note.text).origin != origin:
                raise Tampered("note.not_signed", "")
        except (OSError, Tampered):
            raise _memory_lost(origin) from None
        return note

    def _keys_of(self, origin: str) -> tuple[VerifierKey, ...]:
        path = kept_notes.file_of(self._logs, origin, "keys")
        # A name that no file can have is no log's that is followed.
        if len(os.fsencode(path.name)) > _LONGEST_NAME or not path.exists():
            raise _unknown()
        return _keys_in(path)


_LONGEST_NAME = 255


def _keys_in(path: Path) -> tuple[VerifierKey, ...]:
    return tuple(map(parse_vkey, path.read_text(encoding="utf-8").split()))


def _unknown() -> NotFound:
    return NotFound("witness.log_unknown", "This witness does not follow that log.", "Ask its operator to.")


def _memory_lost(origin: str) -> NeedsPerson:
    return NeedsPerson(
        "witness.memory_lost",
        f"What this witness cosigned of {origin} is missing or damaged.",
        "Do not make it anew: it would cosign any history. docs/witnesses.md says what to do.",
    )
