"""Recomputes the tree as stored: every tile from the one below, every entry at its place, every checkpoint's root.

It needs no key. That a checkpoint was signed, and witnessed, is checked by the auditor's own policy (ledger/policy.py).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import text

from diwan.domain.errors import Tampered
from diwan.ledger.checkpoint import Checkpoint, parse_checkpoint
from diwan.ledger.note import parse_note
from diwan.ledger.policy import Policy
from diwan.ledger.tiles import WIDTH, Tile, hashes_in, of_size
from diwan.ledger.tree import root_at, root_of
from diwan.ledger.verify import BadEntry, OddDates
from diwan.store.connection import Connection
from diwan.store.ledger_cosigned import witnessed
from diwan.store.ledger_leaf_check import BadTree, LeafCheck, reach_of
from diwan.store.ledger_tree import Shard, read_tree, shards

_HASH = 32


@dataclass(frozen=True, slots=True)
class TreeReport:
    """`placed` entries of the tenant are in the tree, `waiting` wait; `leaves` there are in all, `signed` of them;
    `witnessed` of them by a checkpoint that satisfies the auditor's policy; `of_others` says how many are whose else:
    what these say is for their own auditors to recompute. `unknown` are those among them that were never set up.
    `odd_dates` are of the tenant's entries that are dated in another year than their log's: no finding.
    `at_checkpoint` counts each ministry's leaves, the tenant's too, as far as the checkpoints go that were kept."""

    placed: int
    waiting: int
    leaves: int
    signed: int
    witnessed: int
    of_others: Mapping[str, int]
    first_bad: BadEntry | BadTree | None
    unknown: tuple[str, ...] = ()
    at_checkpoint: Mapping[str, int] = field(default_factory=dict[str, int])
    odd_dates: OddDates = field(default_factory=OddDates)


async def verify_tree(
    conn: Connection,
    tenant: str,
    *,
    policy: Policy | None = None,
    kept: Sequence[Checkpoint] = (),
    others: Mapping[str, int | None] | None = None,
) -> TreeReport:
    """Checks all shards and the tenant's leaves, in the snapshot of `conn`; stops at the first that does not hold.

    With a `policy` each shard's last checkpoint must be signed, and one be witnessed, as it says. Each checkpoint in
    `kept` must be of the tree as it was then. With `others` no ministry but these may have leaves, and each as many as
    said, unless None is: at the checkpoints that were kept, where there are any, for logs grow.
    """
    leaves = signed = seen = 0
    there = await shards(conn)
    check = LeafCheck(conn, tenant, reach_of(there, kept))

    def report(bad: BadEntry | BadTree | None, waiting: int = 0) -> TreeReport:
        of_others = {name: count for name, count in check.leaves.items() if name != tenant}
        at = check.reached if kept else {}
        counts = (check.placed, waiting, leaves, signed, seen, of_others)
        return TreeReport(*counts, bad, tuple(sorted(check.unknown)), at, check.odd_dates)

    for shard in reversed(there):
        bad: BadEntry | BadTree | None = await _tiles_hold(conn, shard)
        size, note = await _last_note(conn, shard)
        leaves, signed = leaves + shard.size, signed + size
        bad = bad or await _checkpoints_hold(conn, shard, kept)
        if bad is None:
            count, bad = await _signed_well(conn, shard, note, policy)
            seen += count
        bad = bad or await check.shard(shard)
        if bad is not None:
            return report(bad)
    waiting = (await conn.execute(_WAITING, {"tenant": tenant})).scalar_one()
    bad = _known(there, kept, policy) or await _all_placed(conn, tenant)
    if bad is None and others is not None:
        bad = check.differ_from(others)
    return report(bad, waiting)


def _known(there: Sequence[Shard], kept: Sequence[Checkpoint], policy: Policy | None) -> BadTree | None:
    """A log of which somebody kept a checkpoint is there, and each that the policy names."""
    origins = {shard.origin for shard in there}
    for checkpoint in kept:
        if checkpoint.origin not in origins:
            return BadTree(checkpoint.origin, "tree.log_missing", "the log of a checkpoint that was kept is not there")
    for key in () if policy is None else policy.logs:
        if key.name not in origins:
            return BadTree(key.name, "tree.log_missing", "the policy names this log, and it is not there")
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
    if not note and not shard.size:
        return 0, None  # it was left before anything of it was signed, or has just begun
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
