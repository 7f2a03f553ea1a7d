"""A small log in memory, with its key and a witness: what proofs, policies and verifiers are tried on."""

from __future__ import annotations

from dataclasses import dataclass, field

from diwan.ledger.checkpoint import Checkpoint, cosign, sign_checkpoint
from diwan.ledger.entry import HASH_BYTES, entry_hash
from diwan.ledger.note import COSIGNATURE, Note, SigningKey, new_key
from diwan.ledger.proof import EntryProof
from diwan.ledger.tiles import Tile, TiledTree, build
from diwan.ledger.tree import inclusion_proof, root_at

ORIGIN = "ledger.example/2026"


@dataclass
class MemoryLog:
    """Grows by entries (bytes); each size can be signed, and each entry proved in it."""

    key: SigningKey = field(default_factory=lambda: new_key(ORIGIN))
    entries: list[bytes] = field(default_factory=list[bytes])
    tiles: dict[Tile, bytes] = field(default_factory=dict[Tile, bytes])

    def add(self, *entries: bytes) -> None:
        made = build(len(self.entries), [entry_hash(each) for each in entries], self._read)
        self.tiles.update({tile.full: content for tile, content in made.items()})
        self.entries += entries

    def node(self, size: int) -> TiledTree:
        return TiledTree(size, self._read)

    def _read(self, tile: Tile) -> bytes:
        """A narrower tile is how a wider one begins."""
        return self.tiles[tile.full][: tile.width * HASH_BYTES]

    def checkpoint(self, size: int | None = None) -> Note:
        size = len(self.entries) if size is None else size
        return sign_checkpoint(Checkpoint(self.key.name, size, root_at(size, self.node(size).node)), self.key)

    def proof(self, index: int, note: Note | None = None, extra: bytes = b"") -> EntryProof:
        size = len(self.entries)
        return EntryProof(
            index, tuple(inclusion_proof(index, size, self.node(size).node)), note or self.checkpoint(), extra
        )


def witness(name: str) -> SigningKey:
    return new_key(name, COSIGNATURE)


def cosigned(note: Note, *witnesses: SigningKey, seconds: int = 1_800_000_000) -> Note:
    return note.with_lines(cosign(note, each, seconds) for each in witnesses)
