"""Tiles as c2sp.org/tlog-tiles says: their names, which there are, and that they hold the whole tree."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diwan.domain.errors import InvalidInput, Tampered
from diwan.ledger.tiles import (
    ENTRIES,
    WIDTH,
    Tile,
    TiledTree,
    build,
    bundle,
    entries_in,
    grown,
    of_size,
    parse_path,
)
from diwan.ledger.tree import consistency_proof, inclusion_proof, root_at, root_of

PATHS = {
    "tile/0/000": Tile(0, 0),
    "tile/0/255": Tile(0, 255),
    "tile/0/x001/000": Tile(0, 1000),
    "tile/0/x001/x234/067": Tile(0, 1234067),
    "tile/2/000.p/1": Tile(2, 0, 1),
    "tile/entries/x123/456.p/255": Tile(ENTRIES, 123456, 255),
}
NO_PATHS = [
    *("tile/0/00", "tile/0/0000", "tile/0/x000/000", "tile/00/000", "tile/64/000", "tile/7/000", "tile/-1/000"),
    *("tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000/", "/tile/0/000"),
    *("tile/0/001/000", "tile/0/x001/x000", "tile/0/x001", "tile/entry/000", "tile/0/٠٠٠", "tile/0/000\n", ""),
    "tile/0/x999/x999/x999/x999/x999/999",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_names_a_tile_and_a_tile_its_path(path: str) -> None:
    assert parse_path(path) == PATHS[path]
    assert PATHS[path].path == path


@pytest.mark.parametrize("path", NO_PATHS)
def test_nothing_else_is_a_path(path: str) -> None:
    with pytest.raises(InvalidInput, match="no path"):
        parse_path(path)


@given(st.integers(0, 6), st.integers(0, 2**40), st.integers(1, 256))
def test_paths_come_back(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert parse_path(tile.path) == tile


def test_the_tiles_of_a_size_are_those_of_the_specification() -> None:
    """Its own examples: sizes 70,000 and 256."""
    tiles = list(grown(0, 70_000))
    assert [sum(tile.level == level and tile.width == WIDTH for tile in tiles) for level in range(3)] == [273, 1, 0]
    assert [tile for tile in tiles if tile.width < WIDTH] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert list(grown(0, 256)) == [Tile(0, 0), Tile(1, 0, 1)]


def leaf(number: int) -> bytes:
    return hashlib.sha256(b"\x00" + number.to_bytes(4, "big")).digest()


class Stored:
    """Tiles as a log keeps them: by growth, never changed."""

    def __init__(self) -> None:
        self.size = 0
        self.leaves: list[bytes] = []
        self.tiles: dict[str, bytes] = {}
        self.read: set[str] = set()

    def grow(self, by: int) -> None:
        new = [leaf(self.size + number) for number in range(by)]
        for tile, content in build(self.size, new, self.get).items():
            assert len(content) == tile.width * 32
            assert self.tiles.setdefault(tile.path, content) == content, f"{tile.path} was changed"
        self.leaves += new
        self.size += by

    def get(self, tile: Tile) -> bytes:
        self.read.add(tile.path)
        return self.tiles[tile.path]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 700), max_size=6))
def test_a_log_that_grows_holds_its_tree_at_every_size(steps: list[int]) -> None:
    log = Stored()
    sizes = [0]
    for by in steps:
        log.grow(by)
        sizes.append(log.size)
    for size in sizes:
        assert root_at(size, TiledTree(size, log.get).node) == root_of(log.leaves[:size])
    for old, size in pairwise(sizes):
        node = TiledTree(size, log.get).node
        assert consistency_proof(old, size, node) == consistency_proof(old, size, _plain(log.leaves))
    if log.size:
        index = log.size // 3
        node = TiledTree(log.size, log.get).node
        assert inclusion_proof(index, log.size, node) == inclusion_proof(index, log.size, _plain(log.leaves))


def test_growth_reads_one_tile_a_level_and_writes_what_is_new() -> None:
    log = Stored()
    log.grow(70_000)
    log.read.clear()
    log.grow(300)
    assert log.read == {"tile/0/273.p/112", "tile/1/001.p/17"}
    assert [tile.path for tile in grown(70_000, 70_300)] == ["tile/0/273", "tile/0/274.p/156", "tile/1/001.p/18"]


def test_a_tile_of_another_length_is_refused() -> None:
    log = Stored()
    log.grow(300)
    log.tiles["tile/0/001.p/44"] += b"\x00" * 32
    with pytest.raises(Tampered, match="bytes"):
        root_at(300, TiledTree(300, log.get).node)
    with pytest.raises(Tampered, match="bytes"):
        build(300, [leaf(300)], log.get)


def test_what_a_log_has_not_is_not_asked_for() -> None:
    assert of_size(Tile(0, 1), 300) == Tile(0, 1, 44)
    assert of_size(Tile(ENTRIES, 0), 300) == Tile(ENTRIES, 0)
    for tile in (Tile(0, 2), Tile(1, 1), Tile(2, 0)):
        with pytest.raises(ValueError, match="has no"):
            of_size(tile, 300)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_bundles_come_back_and_nothing_near_them_does(entries: list[bytes]) -> None:
    tile, content = Tile(ENTRIES, 0, len(entries)), bundle(entries)
    assert entries_in(content, tile) == entries
    for spoilt in (content[:-1], content + b"\x00", content + b"\x00\x00"):
        with pytest.raises(Tampered, match="not a bundle"):
            entries_in(spoilt, tile)
    if len(entries) > 1:
        with pytest.raises(Tampered, match="not a bundle"):
            entries_in(content, Tile(ENTRIES, 0, len(entries) - 1))


def test_an_entry_that_no_bundle_can_hold() -> None:
    bundle([b"x" * 65_535])
    with pytest.raises(ValueError, match="65,535"):
        bundle([b"x" * 65_536])


def _plain(leaves: list[bytes]):
    def node(level: int, index: int) -> bytes:
        return root_of(leaves[index << level : (index + 1) << level])

    return node
