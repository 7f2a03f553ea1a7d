"""Signed notes (c2sp.org/signed-note): text under one or more signatures, and the keys that verify them.

Read strictly: what has two spellings, or is signed twice by one key, is refused. Two types of key are known here, an
Ed25519 key that signs the text (1) and one that cosigns a checkpoint with the time (4, checkpoint.py). Lines of other
types and of unknown keys are kept and say nothing, so a note may carry ML-DSA-44 signatures (6) beside ours.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from diwan.domain.errors import InvalidInput, Tampered

ED25519 = 1
COSIGNATURE = 4
MAX_BYTES = 100_000
MAX_SIGNATURES = 32
_ID_BYTES = 4
_PUBLIC_BYTES = 32
_SEED_BYTES = 32
# What Unicode calls a space, and the plus sign, may not be in a name; control characters may not be in a note.
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,200}")
_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_PRIVATE = "PRIVATE+KEY+"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """`name+id+key`, as people exchange it; `type` says what its signatures are made over."""

    name: str
    type: int
    public: bytes

    @property
    def id(self) -> bytes:
        """4 bytes, which name the key in a signature line and prove nothing."""
        return _id_of(self.name, self.type, self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.type]) + self.public).decode()}"

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this Ed25519 key made `signature` (64 bytes) over `message`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


def parse_vkey(text: str) -> VerifierKey:
    """Raises `InvalidInput` (`note.not_a_vkey`) for anything but an Ed25519 key whose id is its own."""
    name, _, rest = text.partition("+")
    _, _, encoded = rest.partition("+")
    try:
        material = unbase64(encoded)
    except ValueError:
        material = b""
    if len(material) == 1 + _PUBLIC_BYTES and material[0] in (ED25519, COSIGNATURE) and _NAME.fullmatch(name):
        key = VerifierKey(name, material[0], material[1:])
        if str(key) == text:
            return key
    raise InvalidInput(
        "note.not_a_vkey", "That is not a verifier key that is known here.", "It reads name+id+key, on one line."
    )


@dataclass(frozen=True)
class SigningKey:
    """The private half. `str()` is the form that Go's note package keeps keys in; it is a secret."""

    name: str
    type: int
    key: Ed25519PrivateKey

    @property
    def verifier(self) -> VerifierKey:
        public = self.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return VerifierKey(self.name, self.type, public)

    def __str__(self) -> str:
        seed = self.key.private_bytes_raw()
        return f"{_PRIVATE}{self.name}+{self.verifier.id.hex()}+{base64.b64encode(bytes([self.type]) + seed).decode()}"

    def __repr__(self) -> str:
        return f"SigningKey({self.verifier})"

    def line(self, content: bytes) -> Signature:
        """A signature line of this key's with `content`."""
        return Signature(self.name, self.verifier.id, content)


def new_key(name: str, type_: int = ED25519) -> SigningKey:
    """Raises `InvalidInput` (`note.bad_name`) for a name that no note can carry."""
    if not _NAME.fullmatch(name):
        raise InvalidInput("note.bad_name", "A key's name has no spaces and no plus sign.", "Name it like an address.")
    return SigningKey(name, type_, Ed25519PrivateKey.generate())


def parse_signing_key(text: str) -> SigningKey:
    """Raises `InvalidInput` (`note.not_a_key`); the text is not repeated."""
    name, _, rest = text.removeprefix(_PRIVATE).partition("+")
    try:
        material = unbase64(rest.partition("+")[2])
    except ValueError:
        material = b""
    if len(material) == 1 + _SEED_BYTES and material[0] in (ED25519, COSIGNATURE) and _NAME.fullmatch(name):
        key = SigningKey(name, material[0], Ed25519PrivateKey.from_private_bytes(material[1:]))
        if str(key) == text:
            return key
    raise InvalidInput("note.not_a_key", "That is not a signing key.", "The signer makes its own: restore its folder.")


@dataclass(frozen=True, slots=True)
class Signature:
    """One line: whose key, and what it made."""

    name: str
    key_id: bytes
    content: bytes

    def __str__(self) -> str:
        return f"— {self.name} {base64.b64encode(self.key_id + self.content).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """`text` ends in a newline."""

    text: str
    signatures: tuple[Signature, ...]

    def __bytes__(self) -> bytes:
        return (self.text + "\n" + "".join(map(str, self.signatures))).encode()

    def by(self, key: VerifierKey) -> Signature | None:
        """The line of this key, whether or not it is right."""
        return next((each for each in self.signatures if (each.name, each.key_id) == (key.name, key.id)), None)

    def with_lines(self, lines: Iterable[Signature]) -> Note:
        """The note with more lines, one for each key: the newest."""
        by_key = {(each.name, each.key_id): each for each in (*self.signatures, *lines)}
        return Note(self.text, tuple(by_key.values()))


def sign(text: str, *keys: SigningKey) -> Note:
    """Signs `text`, which ends in a newline, with Ed25519 keys of type 1."""
    return Note(text, tuple(key.line(key.key.sign(text.encode())) for key in keys))


def parse_note(content: bytes) -> Note:
    """Raises `Tampered` (`note.malformed`) for anything that is not one note, spelled as it is spelled here."""
    if len(content) > MAX_BYTES:
        raise _malformed("is too long")
    try:
        whole = content.decode()
    except UnicodeDecodeError:
        raise _malformed("is not UTF-8") from None
    if any(char < " " and char != "\n" for char in whole):
        raise _malformed("has control characters")
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise _malformed("has no signature lines")
    signatures = tuple(map(_signature, lines[:-1].split("\n")))
    if len(signatures) > MAX_SIGNATURES:
        raise _malformed("has too many signature lines")
    if len({(each.name, each.key_id) for each in signatures}) < len(signatures):
        raise _malformed("has two signature lines of one key")
    note = Note(text + "\n", signatures)
    if bytes(note) != content:
        raise _malformed("is not spelled as notes are")
    return note


def check_signed(note: Note, key: VerifierKey) -> None:
    """Raises `Tampered` (`note.not_signed`, `note.bad_signature`) unless `key` (type 1) signed the note's text."""
    line = note.by(key)
    if line is None:
        raise Tampered("note.not_signed", f"The note has no signature of {key.name}.")
    if key.type != ED25519 or not key.verifies(line.content, note.text.encode()):
        raise Tampered("note.bad_signature", f"The note's signature of {key.name} does not verify.")


def parse_lines(content: bytes) -> tuple[Signature, ...]:
    """Signature lines by themselves, as a witness answers. Raises `Tampered` (`note.malformed`)."""
    note = parse_note(b"-\n\n" + content)
    if note.text != "-\n":
        raise _malformed("has more than signature lines")
    return note.signatures


def unbase64(text: str) -> bytes:
    """Standard base64 in its one spelling. Raises `ValueError`."""
    content = base64.b64decode(text, validate=True)  # binascii.Error is a ValueError
    if base64.b64encode(content).decode() != text:
        raise binascii.Error("not the one spelling")
    return content


def _signature(line: str) -> Signature:
    found = _LINE.fullmatch(line)
    if found is None:
        raise _malformed("has a line that is no signature")
    try:
        content = unbase64(found[2])
    except ValueError:
        raise _malformed("has a line that is no signature") from None
    if len(content) <= _ID_BYTES:
        raise _malformed("has a line that is no signature")
    return Signature(found[1], content[:_ID_BYTES], content[_ID_BYTES:])


def _id_of(name: str, type_: int, public: bytes) -> bytes:
    return hashlib.sha256(f"{name}\n".encode() + bytes([type_]) + public).digest()[:_ID_BYTES]


def _malformed(how: str) -> Tampered:
    return Tampered("note.malformed", f"The signed note {how}.")
