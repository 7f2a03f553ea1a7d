"""The tree against RFC 6962 as it stands, and proofs against everything that is not one."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwan.domain.errors import Tampered
from diwan.ledger.tree import (
    EMPTY_ROOT,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    root_at,
    root_of,
)
from tests.ledger import oracle

MOST = 70
LEAVES = [hashlib.sha256(b"\x00" + number.to_bytes(4, "big")).digest() for number in range(MOST)]


def node(level: int, index: int) -> bytes:
    return oracle.mth(LEAVES[index << level : (index + 1) << level])


@pytest.mark.parametrize("size", range(MOST + 1))
def test_roots_are_those_of_the_standard(size: int) -> None:
    assert root_of(LEAVES[:size]) == root_at(size, node) == oracle.mth(LEAVES[:size])


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_every_leaf_of_every_size_has_its_proof_and_no_other_place(size: int) -> None:
    root = root_at(size, node)
    for index in range(size):
        proof = inclusion_proof(index, size, node)
        assert proof == oracle.path(index, LEAVES[:size])
        check_inclusion(index, size, LEAVES[index], proof, root)
        for other in (index - 1, index + 1):
            with pytest.raises(Tampered, match="not show"):
                check_inclusion(other, size, LEAVES[index], proof, root)


@pytest.mark.parametrize("size", range(MOST + 1))
def test_every_size_is_the_beginning_of_every_later_one(size: int) -> None:
    root = root_at(size, node)
    for old in range(size + 1):
        proof = consistency_proof(old, size, node)
        assert proof == ([] if old in (0, size) else oracle.proof(old, LEAVES[:size]))
        check_consistency(old, root_at(old, node), size, root, proof)


@given(st.data())
def test_a_changed_proof_shows_nothing(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, MOST))
    index = data.draw(st.integers(0, size - 1))
    root, proof = root_at(size, node), inclusion_proof(index, size, node)
    changed = data.draw(changes(proof))
    with pytest.raises(Tampered):
        check_inclusion(index, size, LEAVES[index], changed, root)
    with pytest.raises(Tampered):
        check_inclusion(index, size, data.draw(flipped(LEAVES[index])), proof, root)
    with pytest.raises(Tampered):
        check_inclusion(index, size, LEAVES[index], proof, data.draw(flipped(root)))

    old = data.draw(st.integers(1, size - 1))
    between = consistency_proof(old, size, node)
    before = root_at(old, node)
    with pytest.raises(Tampered):
        check_consistency(old, before, size, root, data.draw(changes(between)))
    with pytest.raises(Tampered):
        check_consistency(old, data.draw(flipped(before)), size, root, between)
    with pytest.raises(Tampered):
        check_consistency(old, before, size, data.draw(flipped(root)), between)
    with pytest.raises(Tampered):
        check_consistency(size, root, old, before, between)


def test_what_has_no_place_in_a_tree_is_refused() -> None:
    root = root_at(5, node)
    for index, size in ((5, 5), (0, 0), (-1, 5), (0, 2**60)):
        with pytest.raises(Tampered):
            check_inclusion(index, size, LEAVES[0], [], root)
    with pytest.raises(Tampered):  # a node as a leaf of a smaller tree: sizes are signed, and depth must fit
        check_inclusion(0, 5, node(1, 0), inclusion_proof(0, 5, node)[1:], root)
    with pytest.raises(Tampered):
        check_inclusion(0, 1, LEAVES[0] + b"\x00", [], LEAVES[0] + b"\x00")


def test_the_empty_tree_begins_every_other_and_proves_nothing_more() -> None:
    root = root_at(3, node)
    check_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    check_consistency(0, EMPTY_ROOT, 3, root, [])
    for before, after, proof in ((root, root, []), (EMPTY_ROOT, root, [root])):
        with pytest.raises(Tampered):
            check_consistency(0, before, 3, after, proof)
    with pytest.raises(Tampered):
        check_consistency(0, EMPTY_ROOT, 0, root, [])
    with pytest.raises(Tampered):
        check_consistency(3, root, 3, root_at(4, node), [])
    with pytest.raises(Tampered):
        check_consistency(3, root, 3, root, [root])


def test_who_asks_for_what_the_tree_has_not_made_a_mistake() -> None:
    for index, size in ((3, 3), (-1, 3)):
        with pytest.raises(ValueError):
            inclusion_proof(index, size, node)
    for old, size in ((4, 3), (-1, 3)):
        with pytest.raises(ValueError):
            consistency_proof(old, size, node)


def flipped(value: bytes) -> st.SearchStrategy[bytes]:
    """One bit the other way."""
    return st.integers(0, len(value) * 8 - 1).map(
        lambda bit: bytes(byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(value))
    )


@st.composite
def changes(draw: st.DrawFn, proof: list[bytes]) -> list[bytes]:
    """The proof with one hash more, less, changed, or two that differ in each other's place."""
    kinds = ["more", *(["less", "flip"] if proof else []), *(["swap"] if len(set(proof)) > 1 else [])]
    kind = draw(st.sampled_from(kinds))
    changed = list(proof)
    at = draw(st.integers(0, max(len(proof) - 1, 0)))
    if kind == "more":
        changed.insert(at, draw(st.sampled_from(LEAVES)))
    elif kind == "less":
        del changed[at]
    elif kind == "flip":
        changed[at] = draw(flipped(proof[at]))
    else:
        other = draw(st.sampled_from([each for each in range(len(proof)) if proof[each] != proof[at]]))
        changed[at], changed[other] = changed[other], changed[at]
    return changed
