"""Recomputes the tree as stored: every tile from the one below, every entry at its place, every checkpoint's root.

It needs no key. That a checkpoint was signed, and witnessed, is checked by the auditor's own policy (ledger/policy.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from diwan.domain.errors import Tampered
from diwan.ledger.checkpoint import Checkpoint, parse_checkpoint
from diwan.ledger.note import parse_note
from diwan.ledger.policy import Policy
from diwan.ledger.tiles import WIDTH, Tile, hashes_in, of_size
from diwan.ledger.tree import root_at, root_of
from diwan.ledger.verify import BadEntry
from diwan.store.connection import Connection
from diwan.store.ledger_cosigned import witnessed
from diwan.store.ledger_tree import Shard, read_tree, shards

_BATCH = 2_000
_HASH = 32


@dataclass(frozen=True, slots=True)
class BadTree:
    """What of a shard does not hold: `reason` is a machine name, `text` is for people."""

    shard: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"log {self.shard}: {self.text}"


@dataclass(frozen=True, slots=True)
class TreeReport:
    """`placed` entries of the tenant are in the tree, `waiting` wait; `leaves` there are in all, `signed` of them;
    `witnessed` of them by a checkpoint that satisfies the auditor's policy; `of_others` are other ministries', whose
    auditors account for them."""

    placed: int
    waiting: int
    leaves: int
    signed: int
    witnessed: int
    of_others: int
    first_bad: BadEntry | BadTree | None


async def verify_tree(
    conn: Connection, tenant: str, *, policy: Policy | None = None, kept: Sequence[Checkpoint] = ()
) -> TreeReport:
    """Checks all shards and the tenant's leaves, in the snapshot of `conn`; stops at the first that does not hold.

    With a `policy` each shard's last checkpoint must be signed, and one be witnessed, as it says. Each checkpoint in
    `kept` must be of the tree as it was then.
    """
    leaves = signed = seen = placed = others = 0
    there = await shards(conn)
    last: dict[str, int] = {}
    for shard in reversed(there):
        bad: BadEntry | BadTree | None = await _tiles_hold(conn, shard)
        size, note = await _last_note(conn, shard)
        leaves, signed = leaves + shard.size, signed + size
        bad = bad or await _checkpoints_hold(conn, shard, kept)
        if bad is None:
            count, bad = await _signed_well(conn, shard, note, policy)
            seen += count
        if bad is None:
            count, bad = await _every_leaf_is_somebodys(conn, tenant, shard)
            others += shard.size - count
        if bad is None:
            count, bad = await _leaves_hold(conn, tenant, shard, last)
            placed += count
        if bad is not None:
            return TreeReport(placed, 0, leaves, signed, seen, others, bad)
    waiting = (await conn.execute(_WAITING, {"tenant": tenant})).scalar_one()
    bad = _known(there, kept) or await _all_placed(conn, tenant)
    return TreeReport(placed, waiting, leaves, signed, seen, others, bad)


def _known(there: Sequence[Shard], kept: Sequence[Checkpoint]) -> BadTree | None:
    """A log of which somebody kept a checkpoint is there."""
    origins = {shard.origin for shard in there}
    for checkpoint in kept:
        if checkpoint.origin not in origins:
            return BadTree(checkpoint.origin, "tree.log_missing", "the log of a checkpoint that was kept is not there")
    return None


async def _all_placed(conn: Connection, tenant: str) -> BadEntry | None:
    missing = (await conn.execute(_MISSING, {"tenant": tenant})).one_or_none()
    if missing is None:
        return None
    return BadEntry(tenant, missing.chain, missing.seq, "tree.no_place", "the entry has no place and waits for none")


_WAITING = text("SELECT count(*) FROM ledger_pending WHERE tenant = :tenant")
_MISSING = text(
    "SELECT chain, seq FROM entry e WHERE tenant = :tenant "
    "AND NOT EXISTS (SELECT FROM ledger_leaf l WHERE (l.tenant, l.chain, l.seq) = (e.tenant, e.chain, e.seq)) "
    "AND NOT EXISTS (SELECT FROM ledger_pending p WHERE (p.tenant, p.chain, p.seq) = (e.tenant, e.chain, e.seq)) "
    "ORDER BY chain, seq LIMIT 1"
)


async def _tiles_hold(conn: Connection, shard: Shard) -> BadTree | None:
    """Level by level: as many tiles as the size says, each as wide, each full one's root in the tile above."""
    size, level = shard.size, 0
    roots: list[bytes] = []
    while size:
        count, above = 0, list[bytes]()
        async for tile, content in _all_tiles(conn, shard.name, level):
            bad = _tile_holds(shard, tile, content, roots, expected=count)
            if bad is not None:
                return bad
            if tile.width == WIDTH:
                above.append(root_of(hashes_in(content, tile)))
            count += 1
        if count != -(-size // WIDTH):
            return BadTree(shard.name, "tree.tile_missing", f"level {level} has {count} tiles for {size} hashes")
        roots, size, level = above, size // WIDTH, level + 1
    root = await read_tree(conn, shard.name, shard.size, lambda node: root_at(shard.size, node))
    if root != shard.root:
        return BadTree(shard.name, "tree.root_differs", f"the root over {shard.size} leaves is not the one on record")
    return None


def _tile_holds(shard: Shard, tile: Tile, content: bytes, roots: list[bytes], *, expected: int) -> BadTree | None:
    def bad(reason: str, why: str) -> BadTree:
        return BadTree(shard.name, reason, f"{tile.path} {why}")

    try:
        there = of_size(tile, shard.size)
    except ValueError:
        return bad("tree.tile_beyond", "is beyond the log's size")
    if tile.index != expected or there != tile:
        return bad("tree.tile_width", f"is not {there.path}, which the log's size demands")
    if tile.level and content != b"".join(roots[tile.index * WIDTH : tile.index * WIDTH + tile.width]):
        first = next(
            at
            for at in range(tile.width)
            if content[at * _HASH : (at + 1) * _HASH] != roots[tile.index * WIDTH + at : tile.index * WIDTH + at + 1][0]
        )
        wrong = Tile(tile.level - 1, tile.index * WIDTH + first)
        return bad("tree.tile_differs", f"has another hash for {wrong.path} than that tile has")
    return None


async def _all_tiles(conn: Connection, shard: str, level: int) -> AsyncGenerator[tuple[Tile, bytes]]:
    after = -1
    while True:
        rows = (await conn.execute(_TILES, {"shard": shard, "level": level, "after": after, "limit": 256})).all()
        for row in rows:
            yield Tile(level, row.idx, len(row.hashes) // _HASH), row.hashes
        if len(rows) < 256:
            return
        after = rows[-1].idx


_TILES = text(
    "SELECT idx, hashes FROM ledger_tile WHERE shard = :shard AND level = :level AND idx > :after "
    "ORDER BY idx LIMIT :limit"
)


async def _last_note(conn: Connection, shard: Shard) -> tuple[int, bytes]:
    row = (await conn.execute(_LAST_NOTE, {"shard": shard.name})).one_or_none()
    return (0, b"") if row is None else (row.size, row.note)


_LAST_NOTE = text("SELECT size, note FROM ledger_checkpoint WHERE shard = :shard ORDER BY size DESC, hour DESC LIMIT 1")


async def _checkpoints_hold(conn: Connection, shard: Shard, kept: Sequence[Checkpoint]) -> BadTree | None:
    """Each, stored or kept by somebody, says the root that the tree had at its size."""
    for checkpoint in kept:
        if checkpoint.origin == shard.origin and (bad := await _is_ours(conn, shard, checkpoint, "that was kept")):
            return bad
    for row in await conn.execute(_CHECKPOINTS, {"shard": shard.name}):
        try:
            said = parse_checkpoint(parse_note(row.note).text)
        except Tampered as error:
            return BadTree(shard.name, error.code, f"the checkpoint at {row.size}: {error.message}")
        if said != Checkpoint(shard.origin, row.size, row.root) or row.size > shard.size:
            return BadTree(shard.name, "tree.checkpoint_differs", f"the checkpoint at {row.size} is of another tree")
        if bad := await _is_ours(conn, shard, said, "on record"):
            return bad
    return None


async def _is_ours(conn: Connection, shard: Shard, said: Checkpoint, which: str) -> BadTree | None:
    if said.size > shard.size:
        why = f"the checkpoint {which} has {said.size} entries, more than there are"
        return BadTree(shard.name, "tree.checkpoint_differs", why)
    if await read_tree(conn, shard.name, shard.size, lambda node: root_at(said.size, node)) != said.root:
        why = f"the checkpoint {which} at {said.size} has another root"
        return BadTree(shard.name, "tree.checkpoint_differs", why)
    return None


_CHECKPOINTS = text(
    "SELECT size, root, note FROM ledger_checkpoint WHERE shard = :shard "
    "UNION SELECT size, root, note FROM ledger_cosigned WHERE shard = :shard ORDER BY size"
)


async def _signed_well(
    conn: Connection, shard: Shard, note: bytes, policy: Policy | None
) -> tuple[int, BadTree | None]:
    """The last checkpoint is signed; how many entries the newest one has that witnesses enough cosigned."""
    if policy is None:
        return 0, None
    if not note:
        return 0, BadTree(shard.name, "note.not_signed", "the log has no checkpoint")
    try:
        policy.signed(parse_note(note))
        policy.cosigned(parse_note(note))
    except Tampered as error:
        return 0, BadTree(shard.name, error.code, f"its last checkpoint: {error.message}")
    found = await witnessed(conn, shard.name, policy=policy)
    if found is None:
        why = (
            f"no checkpoint is cosigned as the policy wants: {policy.quorum}; are the policy's keys the witnesses' own?"
        )
        return 0, BadTree(shard.name, "checkpoint.no_quorum", why)
    return found.size, None


async def _every_leaf_is_somebodys(conn: Connection, tenant: str, shard: Shard) -> tuple[int, BadTree | None]:
    """Every place of the tree has its row, with the tile's hash; how many of them are the tenant's.

    A hash in a tile without one would be an entry that nobody has: one that was taken out, or made up.
    """
    count, after, mine = 0, -1, 0
    while True:
        rows = (await conn.execute(_ALL, {"shard": shard.name, "after": after, "limit": _BATCH})).all()
        for row in rows:
            if row.idx != count or count >= shard.size:
                return mine, BadTree(shard.name, "tree.leaf_missing", f"leaf {count} is no entry's on record")
            if row.hash != row.there:
                return mine, BadTree(shard.name, "tree.leaf_differs", f"leaf {count} is another hash than its tile has")
            count += 1
            mine += row.tenant == tenant
        if len(rows) < _BATCH:
            break
        after = rows[-1].idx
    if count != shard.size:
        return mine, BadTree(shard.name, "tree.leaf_missing", f"leaf {count} is no entry's on record")
    return mine, None


_ALL = text(
    "SELECT l.idx, l.tenant, l.hash, substr(t.hashes, (l.idx % 256)::int * 32 + 1, 32) AS there "
    "FROM diwan_leaves(:shard, :after, :limit) l "
    "LEFT JOIN ledger_tile t ON (t.shard, t.level, t.idx) = (:shard, 0, l.idx / 256) ORDER BY l.idx"
)


async def _leaves_hold(
    conn: Connection, tenant: str, shard: Shard, previous: dict[str, int]
) -> tuple[int, BadEntry | BadTree | None]:
    """Each leaf of the tenant's is the hash of its entry, after those before it in its chain; how many there are."""
    count, after = 0, -1
    while True:
        given = {"tenant": tenant, "shard": shard.name, "after": after, "limit": _BATCH}
        rows = (await conn.execute(_LEAVES, given)).all()
        for row in rows:
            if row.entry is None:
                return count, BadEntry(tenant, row.chain, row.seq, "entry.missing", f"leaf {row.idx} has no entry")
            if row.entry != row.hash:
                why = f"leaf {row.idx} is not the entry's hash"
                return count, BadEntry(tenant, row.chain, row.seq, "tree.leaf_differs", why)
            if row.seq <= previous.get(row.chain, 0):
                why = f"leaf {row.idx} stands after a later entry of its chain"
                return count, BadEntry(tenant, row.chain, row.seq, "tree.out_of_order", why)
            previous[row.chain] = row.seq
            count += 1
        if len(rows) < _BATCH:
            return count, None
        after = rows[-1].idx


_LEAVES = text(
    "SELECT l.idx, l.chain, l.seq, l.hash, e.hash AS entry "
    "FROM ledger_leaf l LEFT JOIN entry e USING (tenant, chain, seq) "
    "WHERE l.tenant = :tenant AND l.shard = :shard AND l.idx > :after ORDER BY l.idx LIMIT :limit"
)
