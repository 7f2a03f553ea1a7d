"""What a letter carries so that anybody can check it: a short code, and its receipt, short enough for a code on paper.

A letter's entry stands in a chain of its own, `receipts/…`, named by the code's digest, and commits to `Facts`: what a
stranger may know of the letter, the digest of its PDF among it. The receipt holds that entry, the facts with the salt
that opens the commitment, the entry's place and the checkpoint. With the log's key it is checked with no network.

A receipt on paper is text that a QR code holds at 5.5 bits a character, `DR1:` and then three characters for two bytes
(as base45, RFC 9285, but for space and percent sign, which do not survive being copied). The bytes, numbers big-endian:

    2 length of what follows, deflated (RFC 1951): the entry's header, a newline, the facts, both canonical JSON
    32 salt · 7 index · 7 size · 1 number of hashes · 32 each
    1 length, origin · 1 number of signature lines · each: 1 length, name (0: the origin) · 1 length, content
    8 the beginning of SHA-256 of all that, by which a misread code is told from a false one

The checkpoint's root is not in it: it follows from entry and hashes, and the signature tells whether it is the one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diwan.domain.errors import Tampered
from diwan.ledger.checkpoint import Checkpoint
from diwan.ledger.compact import Compact
from diwan.ledger.entry import HASH_BYTES, SALT_BYTES, EntryHeader, canonical, check_header, commit, entry_hash
from diwan.ledger.note import Note, Signature
from diwan.ledger.policy import Policy
from diwan.ledger.receipt_code import chain_of
from diwan.ledger.tree import root_by

ISSUED = "letter:receipt:issued"
FACTS = "facts"  # where the entry has the commitment, among its details
PREFIX = "DR1:"
OFFICE = 160  # characters of an office's name that a receipt has room for
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ$*+-./:"
_VALUES = {char: value for value, char in enumerate(_ALPHABET)}
_TEXT = re.compile(rf"{PREFIX}[{re.escape(_ALPHABET)}]+", re.ASCII)
_BASE = len(_ALPHABET)
_NUMBER_BYTES = 7
_CHECK_BYTES = 8
_MOST_TEXT = 16_384  # bytes of header and facts; both are far below
_MOST_LINE = 255  # bytes of a signature line: of longer ones (ML-DSA) the paper has no room


class Facts(BaseModel):
    """What a receipt discloses of a letter, and nothing of any person.

    `pdf` is the SHA-256 of the letter's file as it was issued; `result` is a decision's; a `sample` is no real letter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    v: Literal[1] = 1
    code: str = Field(pattern=r"^[0-9A-HJKMNP-TV-Z]{5}(-[0-9A-HJKMNP-TV-Z]{5}){3}$")
    kind: str = Field(pattern=r"^[a-z_]{1,40}$")
    number: str = Field(min_length=1, max_length=80)
    date: date
    office: str = Field(min_length=1, max_length=OFFICE)
    language: Literal["ar", "fr", "en"]
    result: str = Field(default="", pattern=r"^[a-z_]{0,40}$")
    sample: bool = False
    pdf: str = Field(pattern=r"^[0-9a-f]{64}$")

    def encoded(self) -> bytes:
        """The bytes that are committed to."""
        return canonical(self.model_dump(mode="json"))


@dataclass(frozen=True, slots=True)
class Receipt:
    """`header` and `facts` as bytes: what they say counts only once the whole is checked."""

    header: bytes
    facts: bytes
    salt: bytes
    index: int
    hashes: tuple[bytes, ...]
    size: int
    origin: str
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a receipt shows: `facts` were committed to at `at` by `tenant`, in the log that `checkpoint` is of."""

    facts: Facts
    header: EntryHeader
    checkpoint: Checkpoint
    index: int

    @property
    def tenant(self) -> str:
        return self.header.tenant

    @property
    def at(self) -> datetime:
        return self.header.at


def receipt_of(header: bytes, facts: bytes, salt: bytes, index: int, hashes: tuple[bytes, ...], note: Note) -> Receipt:
    """The receipt of an entry in a checkpoint; signature lines that are too long for paper are left out."""
    origin, size, _ = note.text.split("\n", 2)
    lines = tuple(each for each in note.signatures if len(each.key_id + each.content) <= _MOST_LINE)
    return Receipt(header, facts, salt, index, hashes, int(size), origin, lines)


def check_receipt(receipt: Receipt, policy: Policy) -> Checked:
    """What the receipt shows to whoever trusts `policy`. Raises `Tampered` with the first thing that does not hold."""
    root = root_by(receipt.index, receipt.size, entry_hash(receipt.header), receipt.hashes)
    claimed = Checkpoint(receipt.origin, receipt.size, root)
    checkpoint = policy.checkpoint(Note(claimed.text, receipt.signatures))
    header = check_header(receipt.header)
    if header.kind != ISSUED or header.seq != 1:
        raise Tampered("receipt.other_entry", "That entry of the log issues no letter.")
    if not hmac.compare_digest(commit(receipt.salt, receipt.facts), str(header.detail.get(FACTS, ""))):
        raise Tampered("receipt.facts_differ", "What the receipt says of the letter is not what the entry commits to.")
    facts = read_facts(receipt.facts)
    if header.chain != chain_of(facts.code):
        raise Tampered("receipt.other_code", "The letter's code is another entry's.")
    return Checked(facts, header, checkpoint, receipt.index)


def check_letter(checked: Checked, pdf: bytes) -> None:
    """Raises `Tampered` (`receipt.letter_differs`) unless `pdf` is the letter's file, byte for byte."""
    if hashlib.sha256(pdf).hexdigest() != checked.facts.pdf:
        raise Tampered("receipt.letter_differs", "This file is not the letter that was issued.")


def read_facts(content: bytes) -> Facts:
    """What a receipt says, checked or not. Raises `Tampered` (`receipt.facts_malformed`)."""
    try:
        facts = Facts.model_validate_json(content)
        if facts.encoded() == content:
            return facts
    except (ValidationError, rfc8785.CanonicalizationError):
        pass
    raise Tampered("receipt.facts_malformed", "What the receipt says of the letter cannot be read.")


# --- as text ----------------------------------------------------------------------------------------------------------


def pack(receipt: Receipt) -> str:
    """The receipt as text for a QR code's alphanumeric mode."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    said = deflate.compress(receipt.header + b"\n" + receipt.facts) + deflate.flush()
    parts = [len(said).to_bytes(2, "big"), said, receipt.salt]
    parts += [receipt.index.to_bytes(_NUMBER_BYTES, "big"), receipt.size.to_bytes(_NUMBER_BYTES, "big")]
    parts += [bytes([len(receipt.hashes)]), *receipt.hashes, _short(receipt.origin.encode())]
    parts.append(bytes([len(receipt.signatures)]))
    for line in receipt.signatures:
        name = "" if line.name == receipt.origin else line.name
        parts += [_short(name.encode()), _short(line.key_id + line.content)]
    content = b"".join(parts)
    return PREFIX + _to_text(content + _check(content))


def find_receipt(content: bytes) -> str:
    """The receipt's text wherever it stands: in a text file, or in the PDF that it was set into (docs/receipts.md).

    Raises `Tampered` (`receipt.none`) where there is none, or more than one.
    """
    found = {each.decode() for each in re.findall(_TEXT.pattern.encode(), content)}
    if len(found) != 1:
        raise Tampered("receipt.none", "There is no receipt in it, or more than one.")
    return found.pop()


def unpack(text: str) -> Receipt:
    """Raises `Tampered` (`receipt.misread`, `receipt.malformed`). White space around and in it counts for nothing."""
    packed = "".join(text.split())
    if _TEXT.fullmatch(packed) is None:
        raise _malformed()
    content = _to_bytes(packed[len(PREFIX) :])
    content, check = content[:-_CHECK_BYTES], content[-_CHECK_BYTES:]
    if check != _check(content):
        raise Tampered("receipt.misread", "The code was not read right, or it was changed: read it again.")
    return _read(content)


def _read(content: bytes) -> Receipt:
    form = Compact(content, _malformed())
    header, facts = _inflated(form.take(form.number(2)))
    salt, index, size = form.take(SALT_BYTES), form.number(_NUMBER_BYTES), form.number(_NUMBER_BYTES)
    hashes = tuple(form.take(HASH_BYTES) for _ in range(form.number()))
    origin = _text(form.take(form.number()))
    lines = tuple(_line(form, origin) for _ in range(form.number()))
    once = len({(each.name, each.key_id) for each in lines}) == len(lines)
    if not form.at_end or not once:
        raise _malformed()
    return Receipt(header, facts, salt, index, hashes, size, origin, lines)


def _line(form: Compact, origin: str) -> Signature:
    name, content = _text(form.take(form.number())), form.take(form.number())
    if len(content) <= 4 or name == origin:
        raise _malformed()
    return Signature(name or origin, content[:4], content[4:])


def _inflated(content: bytes) -> tuple[bytes, bytes]:
    inflate = zlib.decompressobj(-15)
    try:
        header, newline, facts = inflate.decompress(content, _MOST_TEXT).partition(b"\n")
    except zlib.error:
        raise _malformed() from None
    if not inflate.eof or inflate.unused_data or not newline:
        raise _malformed()
    return header, facts


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _malformed() from None


def _short(content: bytes) -> bytes:
    return bytes([len(content)]) + content


def _check(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:_CHECK_BYTES]


def _to_text(content: bytes) -> str:
    chars: list[str] = []
    for at in range(0, len(content), 2):
        pair = content[at : at + 2]
        value = int.from_bytes(pair, "big")
        for _ in range(len(pair) + 1):
            value, digit = divmod(value, _BASE)
            chars.append(_ALPHABET[digit])
    return "".join(chars)


def _to_bytes(text: str) -> bytes:
    made: list[bytes] = []
    for at in range(0, len(text), 3):
        group = text[at : at + 3]
        value = sum(_VALUES[char] * _BASE**place for place, char in enumerate(group))
        width = len(group) - 1
        if width < 1 or value >= 256**width:
            raise _malformed()
        made.append(value.to_bytes(width, "big"))
    return b"".join(made)


def _malformed() -> Tampered:
    return Tampered("receipt.malformed", "That is not a letter's receipt.")
