"""What the signer keeps on its own disk: a key for each log, and the note that it signed last.

    keys/<log>.key      secret, in the form of Go's note package
    signed/<log>.note   what was signed last: on disk, name included, before anybody gets it
    retired/<log>.vkeys what keys signed before the present one, public halves alone: the oldest first

A key without its note has forgotten what it signed, and is not used again: somebody must find out why (docs/ledger.md).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from diwan import kept_notes
from diwan.domain.errors import Conflict, NeedsPerson, NotFound, Refused, Tampered
from diwan.ledger.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from diwan.ledger.note import Note, SigningKey, new_key, parse_note, parse_signing_key
from diwan.ledger.tree import EMPTY_ROOT, check_consistency
from diwan.vault import secretfile

log = structlog.get_logger()


class Memory:
    """`folder` is the signer's own; `origin` begins the names of the logs it signs: `origin/2026`.

    One process at a time. The log of a year is begun in that year by the signer's own clock, give or take a day.
    """

    def __init__(self, folder: Path, origin: str, clock: Callable[[], datetime]) -> None:
        self._keys = folder / "keys"
        self._signed = folder / "signed"
        self._retired = folder / "retired"
        self._origin = origin
        self._clock = clock
        for each in (folder, self._keys, self._signed, self._retired):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock: int | None = kept_notes.locked(folder, "signer")

    def close(self) -> None:
        """Another process may use the folder then. May be repeated."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def check(self) -> None:
        """Raises where a key or note cannot be read, or a key has no note."""
        for origin in self._origins():
            self._last(origin)

    def keys(self) -> list[str]:
        """The verifier keys that sign now, one for each log, the oldest log first."""
        return [str(self._key(origin).verifier) for origin in self._origins()]

    def retired(self) -> list[str]:
        """Those that were exchanged, the oldest first: perhaps they were stolen, and nobody is to trust them anew."""
        return [each for origin in self._origins() for each in self._before(origin)]

    def last(self, origin: str) -> Note | None:
        """What was signed last for a log; None where it was never begun."""
        return self._last(origin)[1] if self._is_begun(origin) else None

    def sign(self, checkpoint: Checkpoint, proof: Sequence[bytes]) -> Note:
        """Signs, if what was signed last is shown to be the beginning; the same again gives the same note.

        Raises `Conflict` (`signer.went_back`, `signer.split_view`), `Tampered` (`proof.not_consistent`), `Refused` for
        a log that is not this signer's.
        """
        if not self._is_begun(checkpoint.origin):
            self._begin(checkpoint.origin)
        key, note = self._last(checkpoint.origin)
        before = open_checkpoint(note, key.verifier)
        if checkpoint.size < before.size:
            raise Conflict(
                "signer.went_back",
                f"This log was signed at {before.size} entries and now has {checkpoint.size}.",
                "Entries were lost, as by restoring an old backup. docs/ledger.md says what to do.",
            )
        if checkpoint.size == before.size and checkpoint.root != before.root:
            raise Conflict(
                "signer.split_view",
                f"This log was signed at {before.size} entries with another root.",
                "It was rewritten. docs/ledger.md says what to do.",
            )
        check_consistency(before.size, before.root, checkpoint.size, checkpoint.root, proof)
        if checkpoint == before:
            return note
        signed = sign_checkpoint(checkpoint, key)
        kept_notes.replace(self._note_file(checkpoint.origin), bytes(signed))
        return signed

    def rotate(self, origin: str) -> tuple[str, str]:
        """Exchanges a log's key: a new one signs from now on, the old secret is destroyed; their verifier keys.

        What was signed last is signed by the new key as well, before that is the only one: so a crash at any point
        leaves a key that stands behind the memory, and the same again goes on from there.
        """
        if not self._is_begun(origin):
            raise NotFound("signer.no_such_log", f"This signer has no log {origin}.", "See `diwan ledger vkey`.")
        old, note = self._last(origin)
        beside = self._key_file(origin).with_suffix(".next")
        if not beside.exists():
            secretfile.create(beside, f"{new_key(origin)}\n".encode())
        new = _signing_key(beside)
        signed = note.with_lines(sign_checkpoint(parse_checkpoint(note.text), new).signatures)
        kept_notes.replace(self._note_file(origin), bytes(signed))
        before = self._before(origin)
        if str(old.verifier) not in before:
            text = "".join(f"{each}\n" for each in (*before, old.verifier))
            kept_notes.replace(self._retired_file(origin), text.encode())
        beside.replace(self._key_file(origin))
        secretfile.sync_directory(self._keys)
        return str(old.verifier), str(new.verifier)

    def _before(self, origin: str) -> list[str]:
        try:
            return self._retired_file(origin).read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return []

    def _is_begun(self, origin: str) -> bool:
        """Raises `NeedsPerson` (`signer.key_lost`) where something was signed and the key is gone: a new one would sign
        any history, and what it signed first would take the place of the old memory."""
        if self._key_file(origin).exists():
            return True
        try:
            begun = parse_checkpoint(parse_note(self._note_file(origin).read_bytes()).text).size == 0
        except FileNotFoundError:
            begun = True
        except (OSError, Tampered):
            begun = False
        if not begun:
            raise NeedsPerson(
                "signer.key_lost",
                f"The key of {origin} is gone, though something was signed by it.",
                "Restore the signer's folder. docs/ledger.md says what to do where that is lost.",
            )
        return False

    def _begin(self, origin: str) -> None:
        """Note first, then key: a crash between leaves a note that no key stands behind, and it is made anew."""
        base, _, year = origin.rpartition("/")
        now = self._clock()
        years = {str((now + timedelta(days=days)).year) for days in (-1, 0, 1)}
        if base != self._origin or year not in years:
            raise Refused(
                "signer.not_my_log",
                f"This signer does not begin a log of this name; its own is {self._origin}/{now.year}.",
                "Give signer and sequencer the same DIWAN_LEDGER_ORIGIN, and see that their clocks are right.",
            )
        key = new_key(origin)
        kept_notes.replace(self._note_file(origin), bytes(sign_checkpoint(Checkpoint(origin, 0, EMPTY_ROOT), key)))
        secretfile.create(self._key_file(origin), str(key).encode() + b"\n")
        log.warning("signer.log_begun", origin=origin, key=str(key.verifier))  # once a year, or it was never begun here

    def _last(self, origin: str) -> tuple[SigningKey, Note]:
        key = self._key(origin)
        try:
            note = parse_note(self._note_file(origin).read_bytes())
            if open_checkpoint(note, key.verifier).origin != origin:
                raise Tampered("checkpoint.other_log", "")
        except (OSError, Tampered):
            raise NeedsPerson(
                "signer.memory_lost",
                f"The signer's memory of what it signed for {origin} is missing or damaged.",
                "Do not make it anew: restore the signer's folder. docs/ledger.md says what to do where that is lost.",
            ) from None
        return key, note

    def _key(self, origin: str) -> SigningKey:
        key = _signing_key(self._key_file(origin))
        if key.name != origin:
            raise NeedsPerson("signer.other_key", f"The key of {origin} is of another log.", "Restore its own key.")
        return key

    def _origins(self) -> list[str]:
        return sorted(_signing_key(each).name for each in self._keys.glob("*.key"))

    def _key_file(self, origin: str) -> Path:
        return kept_notes.file_of(self._keys, origin, "key")

    def _retired_file(self, origin: str) -> Path:
        return kept_notes.file_of(self._retired, origin, "vkeys")

    def _note_file(self, origin: str) -> Path:
        return kept_notes.file_of(self._signed, origin, "note")


def _signing_key(path: Path) -> SigningKey:
    return parse_signing_key(secretfile.read(path).decode("utf-8", "replace").rstrip("\n"))


def token_file(folder: Path) -> Path:
    return folder / "token"


def initialise(folder: Path) -> Path:
    """Makes the folder and the token that callers show, where they are missing; the token's file."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = token_file(folder)
    if not path.exists():
        secretfile.create(path, secrets.token_urlsafe(32).encode() + b"\n")
    return path


def read_token(folder: Path) -> str:
    """Raises `NeedsPerson` where there is none: the folder was never made."""
    try:
        return secretfile.read(token_file(folder)).decode("ascii", "replace").strip()
    except NotFound:
        raise NeedsPerson(
            "signer.not_made", f"There is no signer in {folder}.", "Make one, once, with `diwan signer --init`."
        ) from None
