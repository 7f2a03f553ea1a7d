"""What can be done to proofs, checkpoints, entries, fields shown and claims of growth, by kind; and who accepts it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from diwan.domain.errors import DiwanError
from diwan.ledger.checkpoint import Checkpoint, sign_checkpoint
from diwan.ledger.entry import canonical, check_header, entry_hash
from diwan.ledger.fields import (
    Disclosure,
    Shown,
    check_fields,
    commit_fields,
    disclose,
    pack_disclosure,
    split,
    unpack_disclosure,
)
from diwan.ledger.note import Note, SigningKey, new_key, parse_note
from diwan.ledger.policy import Policy, parse_policy
from diwan.ledger.proof import EntryProof, check_proof, parse_proof
from diwan.ledger.tree import check_consistency, consistency_proof, inclusion_proof, root_at
from tests.ledger.logs import ORIGIN, MemoryLog, cosigned, witness

SIZE = 700


def _header(number: int, previous: bytes | None) -> bytes:
    said: dict[str, Any] = {
        "v": 1,
        "tenant": "demo",
        "chain": "c1",
        "seq": number,
        "at": f"2026-11-27T09:{number // 60:02d}:{number % 60:02d}.000000Z",
        "kind": "case:step:moved",
        "actor": {"kind": "rule", "subject": "قاعدة-é", "roles": ["clerk", "supervisor"]},
        "case": "c1",
        "case_seq": number,
        "commitments": {"body": f"{number:064x}", "state_after": f"{number + 1:064x}"},
        "detail": {"to": "review", "more": True, "count": number},
    }
    return canonical(said | ({"prev": previous.hex()} if previous else {}))


@dataclass(frozen=True)
class World:
    """A log, another one by another key, one of the same name by a thief's, and whom the verifier trusts."""

    log: MemoryLog
    other: MemoryLog
    witnesses: tuple[SigningKey, ...]
    policy: Policy

    @cached_property
    def note(self) -> Note:
        return cosigned(self.log.checkpoint(), *self.witnesses)


def world() -> World:
    log, other = MemoryLog(), MemoryLog(new_key(ORIGIN))
    previous: bytes | None = None
    for number in range(1, SIZE + 1):
        header = _header(number, previous)
        log.add(header)
        other.add(header if number % 7 else header.replace(b"review", b"refuse"))
        previous = entry_hash(header)
    keys = tuple(witness(f"{name}.example") for name in ("court", "archive"))
    lines = [f"witness w{n} {key.verifier}" for n, key in enumerate(keys)]
    text = "\n".join([f"log {log.key.verifier}", *lines, "group both all w0 w1", "quorum both", ""])
    return World(log, other, keys, parse_policy(text.encode()))


# --- what is handed out, and whether it is accepted -------------------------------------------------------------------


def accepts_proof(on: World, content: bytes, entry: bytes) -> bool:
    """A file of a proof, for an entry that the verifier has."""
    try:
        check_proof(parse_proof(content), entry, on.policy)
        check_header(entry)
    except DiwanError:
        return False
    return True


def same_note(content: bytes, other: bytes) -> bool:
    """Whether both say the same by the same keys: the order of signature lines says nothing."""
    if content == other:
        return True
    try:
        one, two = parse_note(content), parse_note(other)
    except DiwanError:
        return False
    return one.text == two.text and set(one.signatures) == set(two.signatures)


def same_proof(content: bytes, other: bytes) -> bool:
    head, _, note = content.partition(b"\n\n")
    other_head, _, other_note = other.partition(b"\n\n")
    return head == other_head and same_note(note, other_note)


def accepts_note(on: World, content: bytes) -> bool:
    try:
        on.policy.checkpoint(parse_note(content))
    except DiwanError:
        return False
    return True


@dataclass(frozen=True)
class Growth:
    """A claim that one tree is the beginning of another. Size and root are signed together, so go together here too: a
    proof alone does not bind the size."""

    old: int
    old_root: bytes
    size: int
    root: bytes
    proof: tuple[bytes, ...]


def accepts_growth(claim: Growth) -> bool:
    try:
        check_consistency(claim.old, claim.old_root, claim.size, claim.root, claim.proof)
    except DiwanError:
        return False
    return True


# --- mutations of bytes -----------------------------------------------------------------------------------------------

Bytes = Callable[[random.Random, bytes], bytes]


def _flip(dice: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _insert(dice: random.Random, content: bytes) -> bytes:
    at = dice.randrange(len(content) + 1)
    return content[:at] + bytes([dice.choice((0, 9, 10, 13, 32, 43, 48, 65, 255, dice.randrange(256)))]) + content[at:]


def _drop(dice: random.Random, content: bytes) -> bytes:
    at = dice.randrange(len(content))
    return content[:at] + content[at + dice.randint(1, 40) :]


def _truncate(dice: random.Random, content: bytes) -> bytes:
    return content[: dice.randrange(len(content))]


def _lines(dice: random.Random, content: bytes) -> bytes:
    """Lines in another order, one twice, or one gone."""
    lines = content.split(b"\n")
    at, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    kind = dice.choice(("swap", "double", "gone", "moved"))
    if kind == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "double":
        lines.insert(other, lines[at])
    elif kind == "gone":
        del lines[at]
    else:
        lines.insert(other, lines.pop(at))
    return b"\n".join(lines)


BYTES: dict[str, Bytes] = {
    "a bit flipped": _flip,
    "a byte more": _insert,
    "bytes gone": _drop,
    "truncated": _truncate,
    "lines reordered": _lines,
}


# --- mutations that know the format -----------------------------------------------------------------------------------


def _proof_of(on: World, index: int, **changed: Any) -> EntryProof:
    return replace(on.log.proof(index, on.note), **changed)


def _other_index(on: World, dice: random.Random, index: int) -> EntryProof:
    wrong = dice.choice(
        [other for other in (index - 1, index + 1, SIZE, SIZE + index, 2**40, index ^ 256) if other != index]
    )
    return replace(_proof_of(on, index), index=wrong if wrong >= 0 else SIZE)


def _node_as_leaf(on: World, dice: random.Random, index: int) -> EntryProof:
    """The way up from a node, as if it were a leaf: depth and index halved."""
    proof = _proof_of(on, index)
    levels = dice.randint(1, max(1, len(proof.hashes) - 1))
    return replace(proof, index=index >> levels, hashes=proof.hashes[levels:])


def _wrong_width(on: World, dice: random.Random, index: int) -> EntryProof:
    """Hashes of the same entry in a tree of another size."""
    size = dice.choice([each for each in range(index + 1, SIZE) if each != SIZE] or [SIZE])
    hashes = tuple(inclusion_proof(index, size, on.log.node(size).node))
    proof = _proof_of(on, index)
    return proof if hashes == proof.hashes else replace(proof, hashes=hashes)


def _reordered(on: World, dice: random.Random, index: int) -> EntryProof:
    proof = _proof_of(on, index)
    hashes = list(proof.hashes)
    dice.shuffle(hashes)
    return replace(proof, hashes=tuple(hashes))


def _spliced(on: World, dice: random.Random, index: int) -> EntryProof:
    """Hashes, or the checkpoint, out of another log of the same name."""
    theirs = on.other.proof(index)
    ours = _proof_of(on, index)
    if dice.random() < 0.5 and theirs.hashes != ours.hashes:
        return replace(ours, hashes=theirs.hashes)
    return replace(ours, checkpoint=cosigned(theirs.checkpoint, *on.witnesses))


def _signers(on: World, dice: random.Random, index: int) -> EntryProof:
    """One witness twice, one missing, the log's line missing, a line under another's name."""
    note = on.note
    log, first, second = note.signatures
    lines = dice.choice(
        (
            (log, first, first),
            (log, second, second),
            (log, first),
            (log, second),
            (first, second),
            (log, replace(first, name=second.name, key_id=second.key_id), second),
            (replace(log, content=first.content), first, second),
            (log, first, replace(second, content=first.content)),
        )
    )
    return _proof_of(on, index, checkpoint=Note(note.text, lines))


def _backdated(on: World, dice: random.Random, index: int) -> EntryProof:
    """A cosignature's time moved."""
    note = on.note
    log, first, second = note.signatures
    moved = (int.from_bytes(first.content[:8], "big") - dice.randint(1, 10**6)).to_bytes(8, "big") + first.content[8:]
    return _proof_of(on, index, checkpoint=Note(note.text, (log, replace(first, content=moved), second)))


def _smaller(on: World, dice: random.Random, index: int) -> EntryProof:
    """A checkpoint that says another size, or another root, under the same signatures."""
    note = on.note
    said = Checkpoint(ORIGIN, SIZE - dice.randint(1, 50), root_at(SIZE, on.log.node(SIZE).node))
    return _proof_of(on, index, checkpoint=Note(said.text, note.signatures))


def _by_a_thief(on: World, dice: random.Random, index: int) -> EntryProof:
    """Signed by a key of the same name that nobody trusts."""
    checkpoint = Checkpoint(ORIGIN, SIZE, root_at(SIZE, on.log.node(SIZE).node))
    return _proof_of(on, index, checkpoint=cosigned(sign_checkpoint(checkpoint, new_key(ORIGIN)), *on.witnesses))


PROOFS: dict[str, Callable[[World, random.Random, int], EntryProof]] = {
    "index of another, or past the size": _other_index,
    "node as leaf": _node_as_leaf,
    "wrong width": _wrong_width,
    "hashes reordered": _reordered,
    "spliced from another log": _spliced,
    "signers doubled, missing, exchanged": _signers,
    "cosignature backdated": _backdated,
    "another size under the same signatures": _smaller,
    "signed by a key of the same name": _by_a_thief,
}


def entry_mutated(dice: random.Random, header: bytes) -> tuple[str, bytes]:
    """The same said otherwise (not canonical), or something else said."""
    said = json.loads(header)
    kind = dice.choice(("spaces", "order", "escaped", "twice", "number", "value", "field", "flip"))
    if kind == "spaces":
        return kind, json.dumps(said, ensure_ascii=False).encode()
    if kind == "order":
        keys = list(said)
        dice.shuffle(keys)
        return kind, json.dumps({k: said[k] for k in keys}, separators=(",", ":"), ensure_ascii=False).encode()
    if kind == "escaped":
        return kind, json.dumps(said, separators=(",", ":"), sort_keys=True).encode()
    if kind == "twice":
        return kind, header[:-1] + b',"v":1}'
    if kind == "number":
        return kind, header.replace(b'"v":1', dice.choice((b'"v":1.0', b'"v":1e0', b'"v":01', b'"v":"1"')))
    if kind == "value":
        said["seq"] += dice.randint(1, 1000)
        return kind, canonical(said)
    if kind == "field":
        return kind, canonical(said | {dice.choice(("note", "tenant", "kind")): "x:y:z"})
    return kind, _flip(dice, header)


BODY: dict[str, Any] = {
    "reference": "DW-2026-000142",
    "reason": "دخل غير كافٍ",
    "granted": True,
    "amount": 1,
    "proposal": {"result": "granted", "grounds": ["R1", "R2"], "until": None, "of": {"sum": 12}},
}
SEED = bytes(range(32))


def disclosed(dice: random.Random) -> Disclosure:
    """Some fields of a body, at least one."""
    pointers = sorted(split(BODY))
    some = dice.sample(pointers, dice.randint(1, len(pointers)))
    return disclose(SEED, BODY, lambda pointer: pointer in some)


def accepts_disclosure(content: bytes) -> bool:
    try:
        check_fields(unpack_disclosure(content), commit_fields(SEED, BODY))
    except DiwanError:
        return False
    return True


def _any(dice: random.Random, of: Mapping[str, Any]) -> str:
    return dice.choice(sorted(of))


def _another_value(dice: random.Random, made: Disclosure) -> Disclosure:
    at = _any(dice, made.shown)
    value = dice.choice([other for other in (True, 1, "1", None, [], {}, "granted") if other != made.shown[at].value])
    return replace(made, shown={**made.shown, at: replace(made.shown[at], value=value)})


def _another_salt(dice: random.Random, made: Disclosure) -> Disclosure:
    at = _any(dice, made.shown)
    salt = dice.choice([dice.randbytes(32), SEED, *(made.shown[other].salt for other in made.shown if other != at)])
    return replace(made, shown={**made.shown, at: replace(made.shown[at], salt=salt)})


def _exchanged(dice: random.Random, made: Disclosure) -> Disclosure:
    """Two fields under each other's name, salts and all."""
    one, two = _any(dice, made.shown), _any(dice, made.shown)
    return replace(made, shown={**made.shown, one: made.shown[two], two: made.shown[one]})


def _left_out(dice: random.Random, made: Disclosure) -> Disclosure:
    gone = _any(dice, {**made.shown, **made.hidden})
    return Disclosure(
        {pointer: each for pointer, each in made.shown.items() if pointer != gone},
        {pointer: each for pointer, each in made.hidden.items() if pointer != gone},
    )


def _added(dice: random.Random, made: Disclosure) -> Disclosure:
    """One more field, out of another or made up; a name above others', or one that is there."""
    name = dice.choice(["/more", "/proposal", "/reason/more", "/proposal/result/more"])
    field = dice.choice([made.shown[_any(dice, made.shown)], Shown(dice.randbytes(32), dice.choice((True, "granted")))])
    return replace(made, shown={**made.shown, name: field})


def _renamed(dice: random.Random, made: Disclosure) -> Disclosure:
    was = _any(dice, made.shown)
    name = dice.choice([f"{was}s", was.upper(), was.replace("/", "/x", 1), was[1:]])
    return replace(made, shown={name if pointer == was else pointer: each for pointer, each in made.shown.items()})


def _made_up(dice: random.Random, made: Disclosure) -> Disclosure:
    """A hidden field shown: with what it may well be, under a salt of somebody's."""
    if not made.hidden:
        return made
    at = _any(dice, made.hidden)
    shown = {**made.shown, at: Shown(made.shown[_any(dice, made.shown)].salt, split(BODY)[at])}
    return Disclosure(shown, {pointer: each for pointer, each in made.hidden.items() if pointer != at})


def _hidden_otherwise(dice: random.Random, made: Disclosure) -> Disclosure:
    if not made.hidden:
        return made
    at, other = _any(dice, made.hidden), _any(dice, made.hidden)
    return replace(made, hidden={**made.hidden, at: dice.choice([dice.randbytes(32), made.hidden[other]])})


def _of_another_seed(dice: random.Random, made: Disclosure) -> Disclosure:
    return disclose(dice.randbytes(32), BODY, lambda pointer: pointer in made.shown)


DISCLOSURES: dict[str, Callable[[random.Random, Disclosure], Disclosure]] = {
    "another value": _another_value,
    "another salt": _another_salt,
    "two fields exchanged": _exchanged,
    "a field left out": _left_out,
    "a field added": _added,
    "a field renamed": _renamed,
    "a hidden field made up": _made_up,
    "a hidden field changed": _hidden_otherwise,
    "another entry's": _of_another_seed,
}


def disclosure_mutated(dice: random.Random) -> tuple[str, bytes, bytes]:
    """What was done, what was honest, what it became."""
    honest = disclosed(dice)
    if dice.random() < 0.5:
        name = _any(dice, BYTES)
        return name, (content := pack_disclosure(honest)), BYTES[name](dice, content)
    name = _any(dice, DISCLOSURES)
    return name, pack_disclosure(honest), pack_disclosure(DISCLOSURES[name](dice, honest))


def growth_mutated(on: World, dice: random.Random) -> tuple[str, Growth]:
    old, size = sorted(dice.sample(range(1, SIZE), 2))
    proof = tuple(consistency_proof(old, size, on.log.node(size).node))
    claim = Growth(old, root_at(old, on.log.node(old).node), size, root_at(size, on.log.node(size).node), proof)
    kind = dice.choice(("more", "less", "flip", "order", "old", "size", "back", "other log", "roots exchanged"))
    at = dice.randrange(len(proof))
    if kind == "more":
        return kind, replace(claim, proof=(*proof[:at], dice.randbytes(32), *proof[at:]))
    if kind == "less":
        return kind, replace(claim, proof=proof[:at] + proof[at + 1 :])
    if kind == "flip":
        return kind, replace(claim, proof=(*proof[:at], _flip(dice, proof[at]), *proof[at + 1 :]))
    if kind == "order":
        mixed = list(proof)
        dice.shuffle(mixed)
        return kind, replace(claim, proof=tuple(mixed))
    if kind == "old":
        other = dice.choice([each for each in range(1, SIZE) if each != old])
        return kind, replace(claim, old=other, old_root=root_at(other, on.log.node(other).node))
    if kind == "size":
        other = dice.choice([each for each in range(old, SIZE) if each != size])
        return kind, replace(claim, size=other, root=root_at(other, on.log.node(other).node))
    if kind == "back":
        return kind, Growth(size, claim.root, old, claim.old_root, proof)
    if kind == "other log":
        return kind, replace(claim, root=root_at(size, on.other.node(size).node))
    return kind, replace(claim, old_root=claim.root, root=claim.old_root)
