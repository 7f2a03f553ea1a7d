"""Fields of an entry's body: one can be disclosed without the rest, and nothing be learnt of the rest by guessing.

A body's fields are its members; where one is an object whose names are all of a schema's kind, that object's members.
Each is committed to by itself, under a salt of its own, and the header (name `fields`) binds all of these commitments:

    salt(pointer)       = HMAC-SHA-256(seed, pointer)   of the entry's seed: 32 bytes, and stays sealed
    commitment(pointer) = HMAC-SHA-256(salt, SHA-256(RFC 8785 of the value))
    fields              = SHA-256(RFC 8785 of {pointer: commitment in hex})

Pointers are JSON pointers (RFC 6901). They are seen by whoever sees one field, which is why a name that could be data
(`Fatima`, `IBAN 12`, a file's) keeps the object it stands in whole: an object is one field unless all its names look
like `legal_basis`. With all pointers in one map, no field can be committed to twice and shown as it suits.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson
import rfc8785

from diwan.domain.errors import Final, Tampered
from diwan.ledger.compact import Compact
from diwan.ledger.entry import HASH_BYTES, SALT_BYTES, canonical, canonical_plain, digest_of, keyed_hash

FIELDS = "fields"  # the commitment's name in a header
SEED_BYTES = 32
MOST_MEMBERS = 32  # of an object that is more than one field
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}", re.ASCII)
_POINTER = re.compile(r"(?:/[a-z][a-z0-9_]{0,59}){1,2}", re.ASCII)
_MOST_FIELDS = MOST_MEMBERS * MOST_MEMBERS


@dataclass(frozen=True, slots=True)
class Shown:
    """A field that is disclosed, with the salt that opens its commitment."""

    salt: bytes
    value: Any


@dataclass(frozen=True, slots=True)
class Disclosure:
    """All fields of a body by pointer: what some say, and of the others their commitments (32 bytes)."""

    shown: Mapping[str, Shown]
    hidden: Mapping[str, bytes]


def split(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a body by pointer. Raises `Final` (`entry.bad_field`) where a name of its own is not a schema's."""
    if not _are_names(body):
        raise Final("entry.bad_field", "A body's names look like `legal_basis`.", "Put data into values.")
    fields: dict[str, Any] = {}
    for name, value in body.items():
        inner = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        if inner and _are_names(inner):
            for below, each in inner.items():
                fields[f"/{name}/{below}"] = each
        else:
            fields[f"/{name}"] = value
    return fields


def commit_fields(seed: bytes, body: Mapping[str, Any]) -> str:
    """What a header says of a body, hex. Raises `Final` where the seed has not 32 bytes, or as `split` does."""
    return _bind({pointer: _commit(_salt(seed, pointer), value) for pointer, value in split(body).items()})


def disclose(seed: bytes, body: Mapping[str, Any], show: Callable[[str], bool]) -> Disclosure:
    """A body of which the fields are shown that `show` says yes to, by pointer."""
    shown: dict[str, Shown] = {}
    hidden: dict[str, bytes] = {}
    for pointer, value in split(body).items():
        salt = _salt(seed, pointer)
        if show(pointer):
            shown[pointer] = Shown(salt, value)
        else:
            hidden[pointer] = _commit(salt, value)
    return Disclosure(shown, hidden)


def named(pointers: Collection[str]) -> Callable[[str], bool]:
    """Whether a pointer is one of these, or below one: `/proposal` names `/proposal/result` too."""
    return lambda pointer: any(pointer == each or pointer.startswith(f"{each}/") for each in pointers)


def check_fields(disclosure: Disclosure, commitment: str) -> dict[str, Any]:
    """What is shown, by pointer. Raises `Tampered` (`fields.malformed`, `fields.differ`)."""
    pointers = [*disclosure.shown, *disclosure.hidden]
    _check_pointers(pointers)
    bound = dict(disclosure.hidden)
    for pointer, field in disclosure.shown.items():
        if len(field.salt) != SALT_BYTES:
            raise _malformed()
        try:
            bound[pointer] = _commit(field.salt, field.value)
        except rfc8785.CanonicalizationError:
            raise _malformed() from None
    if any(len(each) != HASH_BYTES for each in bound.values()):
        raise _malformed()
    if not hmac.compare_digest(_bind(bound).encode(), commitment.encode()):
        raise Tampered("fields.differ", "What is shown is not what the entry committed to.")
    return {pointer: field.value for pointer, field in disclosure.shown.items()}


def joined(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The body that these fields are of, as far as they go."""
    body: dict[str, Any] = {}
    for pointer, value in fields.items():
        name, _, below = pointer[1:].partition("/")
        if below:
            body.setdefault(name, {})[below] = value
        else:
            body[name] = value
    return body


# --- as few bytes as may be, for a code on paper ----------------------------------------------------------------------
# A byte: how many fields. Then each, in the order of the pointers: its pointer after a byte that is its length; two
# bytes, big-endian: 0 where it is hidden, or the value's length and 1; the commitment, or the salt and the value.


def pack_disclosure(disclosure: Disclosure) -> bytes:
    """Raises `Final` (`fields.too_large`) beyond what the form can say: 255 fields, 65,534 bytes a value."""
    pointers = sorted([*disclosure.shown, *disclosure.hidden])
    values = {pointer: canonical(field.value) for pointer, field in disclosure.shown.items()}
    if len(pointers) > 255 or any(len(value) > 0xFFFE for value in values.values()):
        raise Final("fields.too_large", "The fields are too many or too long for the compact form.", "Show fewer.")
    packed = [bytes([len(pointers)])]
    for pointer in pointers:
        packed += [bytes([len(pointer)]), pointer.encode()]
        if pointer in values:
            value = values[pointer]
            packed += [(len(value) + 1).to_bytes(2, "big"), disclosure.shown[pointer].salt, value]
        else:
            packed += [bytes(2), disclosure.hidden[pointer]]
    return b"".join(packed)


def unpack_disclosure(content: bytes) -> Disclosure:
    """The other way round. Raises `Tampered` (`fields.malformed`) for all that `pack_disclosure` does not write."""
    shown: dict[str, Shown] = {}
    hidden: dict[str, bytes] = {}
    form = Compact(content, _malformed())
    for _ in range(form.number()):
        pointer = form.take(form.number()).decode("ascii", "replace")
        length = form.number(2)
        if length == 0:
            hidden[pointer] = form.take(HASH_BYTES)
        else:
            salt, value = form.take(SALT_BYTES), form.take(length - 1)
            try:
                shown[pointer] = Shown(salt, orjson.loads(value))
            except orjson.JSONDecodeError:
                raise _malformed() from None
    disclosure = Disclosure(shown, hidden)
    _check_pointers([*shown, *hidden])
    try:
        if pack_disclosure(disclosure) == content:
            return disclosure
    except rfc8785.CanonicalizationError:  # a number that no entry can hold
        pass
    raise _malformed()


def _are_names(members: Mapping[str, Any]) -> bool:
    return len(members) <= MOST_MEMBERS and all(_NAME.fullmatch(name) for name in members)


def _salt(seed: bytes, pointer: str) -> bytes:
    return keyed_hash(seed, pointer.encode())


def _commit(salt: bytes, value: Any) -> bytes:
    return keyed_hash(salt, digest_of(canonical(value)))


def _bind(commitments: Mapping[str, bytes]) -> str:
    """The pointers are JSON pointers by `_POINTER`, so ASCII."""
    return hashlib.sha256(canonical_plain({pointer: each.hex() for pointer, each in commitments.items()})).hexdigest()


def _check_pointers(pointers: list[str]) -> None:
    """Each once, none below another: what one says, none of the others can say otherwise."""
    known = set(pointers)
    if len(known) != len(pointers) or len(known) > _MOST_FIELDS:
        raise _malformed()
    for pointer in known:
        above = pointer.rpartition("/")[0]
        if _POINTER.fullmatch(pointer) is None or above in known:
            raise _malformed()


def _malformed() -> Tampered:
    return Tampered("fields.malformed", "What is shown is not a disclosure of fields.")
