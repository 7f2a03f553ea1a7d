"""One ledger entry: the header that is hashed, its canonical encoding, and salted commitments.

A header is public in the sense that it holds no personal data: persons are pseudonyms, values are salted
commitments. Its bytes are canonical JSON (RFC 8785) and are stored, hashed and handed out exactly as encoded here.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator

from diwan.domain.errors import Final, Tampered

MAX_HEADER_BYTES = 4096
SALT_BYTES = 32
HASH_BYTES = 32
LEAF_PREFIX = b"\x00"  # RFC 6962, section 2.1: leaf hashes are separated from node hashes

Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Kind = Annotated[str, Field(pattern=r"^[a-z][a-z_]*:[a-z][a-z_]*:[a-z][a-z_]*$", max_length=80)]
Small = Annotated[int, Field(ge=-(2**53) + 1, le=2**53 - 1)]  # what RFC 8785 can carry exactly
Scalar = bool | Small | Annotated[str, Field(max_length=400)]
Name = Annotated[str, Field(max_length=200)]  # empty: not said, and left out
Said = Annotated[str, Field(min_length=1, max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class EntryActor(_Part):
    """Who acted: `subject` is a pseudonym of the issuer's or the name of a rule, an agent or a part."""

    kind: Said
    subject: Said
    roles: tuple[Name, ...] = ()
    authentication: Name = ""


class EntryModel(_Part):
    """Which model answered. `sampling` holds the parameters as sent; fractions are strings (`"0.2"`)."""

    name: Said
    weights_digest: Name = ""
    engine: Name = ""
    sampling: dict[str, Scalar] = Field(default_factory=dict[str, Scalar])
    seed: Small | None = None


class EntryApproval(_Part):
    """What a person was shown (digest), what was recommended, what was decided, and whether they differ."""

    shown: Said
    recommended: Name = ""
    decided: Said
    overridden: bool = False


class EntryHeader(_Part):
    """The fields of an entry; empty ones are left out of the encoding.

    `seq` starts at 1; `prev` is the hash (hex) of entry `seq - 1`, absent in the first. `case` and `case_seq`
    name the case version that the entry made; entries outside a case have neither.
    """

    v: int = Field(default=1, ge=1, le=1)
    tenant: Said
    chain: Said
    seq: int = Field(ge=1, le=2**53 - 1)
    prev: Hex32 | None = None
    at: datetime
    kind: Kind
    actor: EntryActor
    case: Name = ""
    case_seq: int = Field(default=0, ge=0, le=2**53 - 1)
    step: Name = ""
    visit: int = Field(default=0, ge=0)
    workflow_run: Name = ""
    attempt: int = Field(default=0, ge=0)
    code_version: Name = ""
    procedure_hash: Name = ""
    model: EntryModel | None = None
    commitments: dict[str, Hex32] = Field(default_factory=dict[str, Hex32])
    approval: EntryApproval | None = None
    legal_basis: Name = ""
    purpose: Name = ""
    trace_id: Name = ""
    detail: dict[str, Scalar] = Field(default_factory=dict[str, Scalar])

    @field_validator("at")
    @classmethod
    def _aware(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("an instant needs its zone")
        return value.astimezone(UTC)

    @field_serializer("at")
    def _fixed_width(self, value: datetime) -> str:
        return fixed_width(value)


def encode(header: EntryHeader) -> bytes:
    """Canonical bytes of a header (RFC 8785), at most 4,096.

    Raises `Final` (`entry.too_large`) beyond that: the caller put into the header what belongs in the sealed body.
    """
    parts = {name: _said(part) for name in _PARTS if (part := getattr(header, name)) is not None}
    said = {**_said(header), "at": fixed_width(header.at), **parts}
    # A header's values are no fractions, and its own names are ASCII; those in its open maps may be anything.
    sampling = header.model.sampling if header.model is not None else ()
    plain = "".join((*header.commitments, *header.detail, *sampling)).isascii()
    encoded = canonical_plain(said) if plain else rfc8785.dumps(said)
    if len(encoded) > MAX_HEADER_BYTES:
        raise Final(
            "entry.too_large",
            f"A ledger header of {len(encoded)} bytes exceeds {MAX_HEADER_BYTES}.",
            "Put the values into the sealed body and commit to them.",
        )
    return encoded


def entry_hash(header: bytes) -> bytes:
    """SHA-256(0x00 || header): the leaf hash of RFC 6962, 32 bytes."""
    return hashlib.sha256(LEAF_PREFIX + header).digest()


def digest_of(value: bytes) -> bytes:
    """What a commitment is made over: SHA-256 of the value, so that large values need not be kept twice."""
    return hashlib.sha256(value).digest()


def commit(salt: bytes, value: bytes) -> str:
    """Salted commitment to a value, hex: HMAC-SHA-256 keyed by a 32 byte salt over SHA-256 of the value.

    Without the salt nothing can be learnt of the value, by guessing either; with it, only this value opens it.
    """
    return commit_digest(salt, digest_of(value))


def commit_digest(salt: bytes, digest: bytes) -> str:
    """As `commit`, from the value's SHA-256. A salt of another length would not bind (HMAC pads and hashes keys)."""
    if len(salt) != SALT_BYTES or len(digest) != HASH_BYTES:
        raise Final("entry.bad_commitment", "A commitment needs a salt and a digest of 32 bytes each.")
    return keyed_hash(salt, digest).hex()


_INNER, _OUTER = (bytes(each ^ pad for each in range(256)) for pad in (0x36, 0x5C))
_KEYS_END = bytes(32)


def keyed_hash(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104) under a key of 32 bytes.

    Written out: what OpenSSL prepares for each HMAC costs several times its four blocks, and every entry has some.
    """
    if len(key) != HASH_BYTES:
        raise Final("entry.bad_commitment", "A key of another length would not bind.")
    padded = key + _KEYS_END
    inner = hashlib.sha256(padded.translate(_INNER) + message).digest()
    return hashlib.sha256(padded.translate(_OUTER) + inner).digest()


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value: the one form that is committed to, digested or sealed.

    orjson writes the same bytes many times faster where no number is a fraction and every key is ASCII (order by bytes
    is then order by UTF-16 units); a test compares the two.
    """
    return canonical_plain(value) if _plain(value) else rfc8785.dumps(value)


def canonical_plain(value: Any) -> bytes:
    """As `canonical`, of a value that is known to have no fraction in it and ASCII keys only."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)
    except orjson.JSONEncodeError:
        return rfc8785.dumps(value)  # which says what is wrong


def _plain(value: Any) -> bool:
    """Not recursive: every body of every entry passes here."""
    left: list[Any] = [value]
    for each in left:
        kind: Any = each.__class__
        if kind is dict:
            for key, below in each.items():
                if type(key) is not str or not key.isascii():
                    return False
                if type(below) not in _LEAVES:
                    left.append(below)
        elif kind is list or kind is tuple:
            left += [below for below in each if type(below) not in _LEAVES]
        elif kind not in _LEAVES:
            return False
    return True


_LEAVES: frozenset[type[Any]] = frozenset({str, int, bool, type(None)})


def check_header(header: bytes) -> EntryHeader:
    """Parses stored header bytes and demands that they are the canonical encoding of what they say.

    Raises `Tampered` with a code that says how they are not.
    """
    if len(header) > MAX_HEADER_BYTES:
        raise Tampered("entry.too_large", "The header is longer than any header may be.")
    try:
        parsed = EntryHeader.model_validate(orjson.loads(header))
        again = encode(parsed)
    except (ValidationError, orjson.JSONDecodeError, rfc8785.CanonicalizationError):
        raise Tampered("entry.not_a_header", "The header is not a valid ledger header.") from None
    if again != header:
        raise Tampered("entry.not_canonical", "The header's bytes are not its canonical encoding.")
    return parsed


_PARTS = ("actor", "model", "approval")


def _said(part: _Part) -> dict[str, Any]:
    """Leaves out empty fields; what stands in open maps stays as it is, and so do a seed of 0 and a plain no."""
    return {
        name: value
        for name, value in part.__dict__.items()
        if value or value is False or (name == "seed" and value is not None)
    }


def fixed_width(at: datetime) -> str:
    """An instant of UTC as entries have it: `2026-11-27T09:00:01.000000Z`."""
    return at.isoformat(timespec="microseconds")[:_UNTIL_ZONE] + "Z"


_UNTIL_ZONE = len("2026-11-27T09:00:01.000000")
