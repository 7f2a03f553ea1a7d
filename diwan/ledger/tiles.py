"""Tiles (c2sp.org/tlog-tiles): how the tree is stored and handed out, in files of 256 hashes that never change.

A tile of level L holds the roots of 256 complete subtrees of 256**L leaves each. The last of a level may be partial;
its bytes are then the beginning of the full one's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from diwan.domain.errors import InvalidInput, Tampered
from diwan.ledger.entry import HASH_BYTES
from diwan.ledger.tree import MAX_SIZE, Node, node_hash, root_of

HEIGHT = 8
WIDTH = 1 << HEIGHT
ENTRIES = -1  # the "level" of entry bundles, which lie beside tiles of level 0
_MAX_ENTRY_BYTES = 2**16 - 1
_MAX_LEVEL = MAX_SIZE.bit_length() // HEIGHT
_PATH = re.compile(r"tile/(entries|0|[1-9]\d?)((?:/x\d{3})*/\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """`level` from 0, or `ENTRIES`; `index` within the level; `width` from 1 to 256 hashes (or entries)."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """As it is asked for, below the log's prefix: `tile/0/x001/234`, `tile/0/x001/235.p/7`."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/" + "".join(f"x{group}/" for group in groups[:-1]) + groups[-1] + partial

    @property
    def full(self) -> Tile:
        return Tile(self.level, self.index)


def parse_path(path: str) -> Tile:
    """The tile that a path names; one spelling each. Raises `InvalidInput` (`tile.no_such_path`)."""
    found = _PATH.fullmatch(path)
    if found is not None:
        level, digits, width = found.groups()
        index = int(re.sub("[x/]", "", digits))
        tile = Tile(ENTRIES if level == "entries" else int(level), index, int(width) if width else WIDTH)
        if tile.level <= _MAX_LEVEL and index <= MAX_SIZE >> HEIGHT and tile.path == path:
            return tile
    raise InvalidInput("tile.no_such_path", "That is no path of a tile.", "Paths are those of c2sp.org/tlog-tiles.")


def grown(old: int, size: int) -> Iterator[Tile]:
    """The tiles that a log of `size` has and one of `old` leaves has not, lowest level first; no entry bundles."""
    for level in range(_MAX_LEVEL + 1):
        before, after = old >> HEIGHT * level, size >> HEIGHT * level
        if after == before:
            return  # nothing grew above either
        for index in range(before // WIDTH, -(-after // WIDTH)):
            yield Tile(level, index, min(WIDTH, after - index * WIDTH))


def of_size(tile: Tile, size: int) -> Tile:
    """The tile as a log of `size` leaves has it: perhaps narrower. Raises `ValueError` where it has none there."""
    there = (size >> HEIGHT * max(tile.level, 0)) - tile.index * WIDTH
    if there <= 0:
        raise ValueError(f"a log of {size} leaves has no {tile.full.path}")
    return Tile(tile.level, tile.index, min(WIDTH, there))


# Bytes of a tile as a log of that size has it.
Read = Callable[[Tile], bytes]


class TiledTree:
    """The nodes of a tree of `size` leaves, out of tiles; each tile is read once.

    Only what is between a tile's hashes is computed, nothing above a tile is: whoever compares a root thereby compares
    all that it is made of. Raises `Tampered` (`tile.wrong_length`) for a tile of another length than its width says.
    """

    def __init__(self, size: int, read: Read) -> None:
        self._size = size
        self._read = read
        self._rows: dict[Tile, list[list[bytes]]] = {}

    def node(self, level: int, index: int) -> bytes:
        """A `Node` of tree.py."""
        tile_level, height = divmod(level, HEIGHT)
        first = index << height  # of the hashes at the tile's own level
        rows = self._of(Tile(tile_level, first // WIDTH))
        return rows[height][(first % WIDTH) >> height]

    def _of(self, tile: Tile) -> list[list[bytes]]:
        """Row by row, from the tile's own hashes up, complete subtrees only."""
        found = self._rows.get(tile)
        if found is None:
            there = of_size(tile, self._size)
            row = hashes_in(self._read(there), there)
            found = [row]
            while len(row) > 1:
                row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
                found.append(row)
            self._rows[tile] = found
        return found


def wanted(size: int, ask: Callable[[Node], object]) -> set[Tile]:
    """The tiles that `ask` reads of a tree of `size` leaves: to fetch them together, before they are needed."""
    seen: set[Tile] = set()

    def node(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, HEIGHT)
        seen.add(of_size(Tile(tile_level, (index << height) // WIDTH), size))
        return bytes(HASH_BYTES)

    ask(node)
    return seen


def hashes_in(content: bytes, tile: Tile) -> list[bytes]:
    """The hashes of a tile. Raises `Tampered` (`tile.wrong_length`)."""
    if len(content) != tile.width * HASH_BYTES:
        raise Tampered("tile.wrong_length", f"{tile.path} has {len(content)} bytes, not {tile.width * HASH_BYTES}.")
    return [content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES)]


def build(old: int, leaves: Sequence[bytes], read: Read) -> dict[Tile, bytes]:
    """The tiles that come with `leaves` (hashes) after `old` of them; `read` gives those that a log of `old` has.

    What is written needs no more than the partial tiles at the right edge, one a level.
    """
    made: dict[Tile, bytes] = {}
    roots: dict[tuple[int, int], bytes] = {}  # of tiles that are full now and were not, by level and index
    for tile in grown(old, old + len(leaves)):
        start = tile.index * WIDTH
        had = max(0, min((old >> HEIGHT * tile.level) - start, tile.width))
        before = Tile(tile.level, tile.index, had)
        hashes = hashes_in(read(before), before) if had else []
        if tile.level == 0:
            hashes += leaves[start + had - old : start + tile.width - old]
        else:
            hashes += [roots[tile.level - 1, start + at] for at in range(had, tile.width)]
        made[tile] = b"".join(hashes)
        if tile.width == WIDTH:
            roots[tile.level, tile.index] = root_of(hashes)
    return made


def bundle(entries: Sequence[bytes]) -> bytes:
    """An entry bundle: each entry after its length (big-endian, 16 bits)."""
    if any(len(entry) > _MAX_ENTRY_BYTES for entry in entries):
        raise ValueError("an entry of a bundle has at most 65,535 bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def entries_in(content: bytes, tile: Tile) -> list[bytes]:
    """The entries of a bundle. Raises `Tampered` (`tile.not_a_bundle`) unless it has exactly as many as its width."""
    found: list[bytes] = []
    at = 0
    while at < len(content) and len(found) <= tile.width:
        end = at + 2 + int.from_bytes(content[at : at + 2], "big")
        if at + 2 > len(content) or end > len(content):
            break
        found.append(content[at + 2 : end])
        at = end
    if at != len(content) or len(found) != tile.width:
        raise Tampered("tile.not_a_bundle", f"{tile.path} is not a bundle of {tile.width} entries.")
    return found
