"""The Merkle tree of RFC 6962 over leaf hashes: roots, proofs and their checks.

Nothing here keeps a tree: whoever asks for a root or a proof hands in how to find the hash of a complete subtree
(`Node`), which the tiles hold (tiles.py). The checks are those of RFC 9162, sections 2.1.3.2 and 2.1.4.2, and take
nothing on trust: a proof of another length than the numbers demand is refused before anything is hashed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence

from diwan.domain.errors import Tampered
from diwan.ledger.entry import HASH_BYTES

# (level, index) -> hash of the complete subtree over leaves index * 2**level up to (index + 1) * 2**level.
Node = Callable[[int, int], bytes]

EMPTY_ROOT = hashlib.sha256().digest()
MAX_SIZE = 2**53 - 1  # what canonical JSON can say exactly, and far beyond any ministry
_NODE_PREFIX = b"\x01"


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right): an inner node of RFC 6962, section 2.1."""
    return hashlib.sha256(_NODE_PREFIX + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes that are all at hand, level by level."""
    if not leaves:
        return EMPTY_ROOT
    row = list(leaves)
    while len(row) > 1:
        above = [node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
        # A last one without a sibling goes up as it is: RFC 6962 splits at the largest power of two.
        row = above + row[len(above) * 2 :]
    return row[0]


def root_at(size: int, node: Node) -> bytes:
    """The root of the tree's first `size` leaves."""
    return _over(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """The hashes beside the way from leaf `index` up to the root of `size` leaves, lowest first (PATH of RFC 6962).

    Raises `ValueError` for an index that the tree does not have.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has none at {index}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_over(middle, end, node))
            end = middle
        else:
            proof.append(_over(start, middle, node))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, size: int, node: Node) -> list[bytes]:
    """The hashes that show the tree of `old` leaves to be the beginning of that of `size` (PROOF of RFC 6962).

    Empty where `old` is 0 or `size`. Raises `ValueError` where it is neither nor between them.
    """
    if not 0 <= old <= size:
        raise ValueError(f"a tree of {size} leaves does not begin with one of {old}")
    if old in (0, size):
        return []
    proof: list[bytes] = []
    start, end, whole = 0, size, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_over(middle, end, node))
            end = middle
        else:
            proof.append(_over(start, middle, node))
            start, whole = middle, False
    if not whole:
        proof.append(_over(start, end, node))
    return proof[::-1]


def check_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raises `Tampered` (`proof.not_included`) unless the leaf hash is at `index` of that tree."""
    if not _hashes(root) or not hmac.compare_digest(root_by(index, size, leaf, proof), root):
        raise _not_included()


def root_by(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that a tree of `size` leaves has if this leaf hash is at `index`, beside these hashes.

    Raises `Tampered` (`proof.not_included`) for a proof that no tree of that size has.
    """
    if not 0 <= index < size <= MAX_SIZE or not _hashes(leaf, *proof):
        raise _not_included()
    node, last, now = index, size - 1, leaf
    for beside in proof:
        if last == 0:
            raise _not_included()
        if node % 2 or node == last:
            now = node_hash(beside, now)
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            now = node_hash(now, beside)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise _not_included()
    return now


def check_consistency(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Raises `Tampered` (`proof.not_consistent`) unless the tree (`old`, `old_root`) is the beginning of (`size`,
    `root`)."""
    if not 0 <= old <= size <= MAX_SIZE or not _hashes(old_root, root, *proof):
        raise _not_consistent()
    if old in (0, size):
        expected = EMPTY_ROOT if old == 0 else root
        same = hmac.compare_digest(old_root, expected) and (size or hmac.compare_digest(root, EMPTY_ROOT))
        if proof or not same:
            raise _not_consistent()
        return
    # A beginning that is a complete subtree is itself the first hash, which the proof leaves out.
    way = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not way:
        raise _not_consistent()
    node, last = old - 1, size - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    before = now = way[0]
    for beside in way[1:]:
        if last == 0:
            raise _not_consistent()
        if node % 2 or node == last:
            before, now = node_hash(beside, before), node_hash(beside, now)
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            now = node_hash(now, beside)
        node, last = node >> 1, last >> 1
    if last != 0 or not (hmac.compare_digest(before, old_root) and hmac.compare_digest(now, root)):
        raise _not_consistent()


def _over(start: int, end: int, node: Node) -> bytes:
    """MTH over leaves `start` up to `end`, out of complete subtrees; `start` is where such a range may begin."""
    now: bytes | None = None
    while end > start:
        # From the right: the smallest complete subtree first, as the split demands.
        width = (end - start) & -(end - start)
        level = width.bit_length() - 1
        subtree = node(level, (end - width) >> level)
        now = subtree if now is None else node_hash(subtree, now)
        end -= width
    assert now is not None
    return now


def _split(width: int) -> int:
    """The largest power of two below `width` (RFC 6962, section 2.1)."""
    return 1 << (width - 1).bit_length() - 1


def _hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)


def _not_included() -> Tampered:
    return Tampered("proof.not_included", "The proof does not show that this entry is in the log.")


def _not_consistent() -> Tampered:
    return Tampered("proof.not_consistent", "The proof does not show that the log only grew.")
