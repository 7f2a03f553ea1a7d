"""The ledger's tree in Postgres: entries get their place, tiles grow, checkpoints are kept.

The sequencer alone writes here (role diwan_sequencer), in transactions of its own: whoever writes an entry waits for
nobody. The tree is locked for as long as it grows, so of several sequencers one grows it at a time, each from where the
one before it left off: nothing is remembered between transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import text

from diwan.domain.errors import NeedsPerson
from diwan.ledger.tiles import WIDTH, Tile, TiledTree, build, wanted
from diwan.ledger.tree import EMPTY_ROOT, Node, root_at
from diwan.store.connection import Connection

_HASH = 32

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Shard:
    """The tree as it stands: signed or not."""

    name: str
    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint as signed and handed out."""

    shard: str
    size: int
    root: bytes
    note: bytes


@dataclass(frozen=True, slots=True)
class Grown:
    """What a pass did: `entries` got their place; the oldest of them had waited for `waited_s` seconds."""

    entries: int
    waited_s: float


async def open_shard(conn: Connection, origin: str) -> Shard:
    """The newest shard of this origin, or one for the new year by the database's clock; the tree is locked until the
    transaction ends.

    A clock that goes back opens none: entries of a chain are never placed in an older log than those before them. Under
    an origin that never had a log one is begun beside that of the same year, which stays as it is from then on: raises
    `NeedsPerson` (`ledger.other_log`) where the log opened last is of another origin than this, which had one before.
    """
    await conn.execute(_LOCK_TREE)
    row = (await conn.execute(_NEWEST, {"origin": origin})).one()
    if row.name is not None and row.last != origin:
        raise NeedsPerson(
            "ledger.other_log",
            f"The ledger went on from {row.its_origin} to {row.last_origin}: the log of before takes in no more.",
            f"Set DIWAN_LEDGER_ORIGIN of every sequencer and of the signer to {row.last}, or to a name that no log "
            "here ever had, which begins a log beside. docs/ledger.md says what to do.",
        )
    if row.name is not None and row.year <= row.of:
        return Shard(row.name, row.its_origin, row.size, row.root)
    name = row.year if row.taken == 0 else f"{row.year}-{row.taken + 1}"
    await conn.execute(_OPEN_SHARD, {"name": name, "origin": f"{origin}/{row.year}", "root": EMPTY_ROOT})
    return Shard(name, f"{origin}/{row.year}", 0, EMPTY_ROOT)


_SHARD = "SELECT name, origin, size, root FROM ledger_shard"
# One sequencer grows the tree at a time, whichever shard it is: so no entry is placed before one of its chain.
_LOCK_TREE = text("SELECT pg_advisory_xact_lock(hashtextextended('diwan ledger tree', 0))")
_NEWEST = text(
    "SELECT now_.year, s.name, s.origin AS its_origin, s.size, s.root, left(s.name, 4) AS of, "
    "(SELECT count(*) FROM ledger_shard t WHERE left(t.name, 4) = now_.year) AS taken, "
    "last.origin AS last_origin, left(last.origin, length(last.origin) - 5) AS last "
    "FROM (SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY') AS year) now_ LEFT JOIN LATERAL ("
    "SELECT * FROM ledger_shard WHERE origin = :origin || '/' || left(name, 4) ORDER BY left(name, 4) DESC LIMIT 1"
    ") s ON true LEFT JOIN LATERAL (SELECT * FROM ledger_shard ORDER BY opened_at DESC LIMIT 1) last ON true"
)
# After all others, though the clock went back: which log was opened last is asked of this column alone.
_OPEN_SHARD = text(
    "INSERT INTO ledger_shard (name, origin, root, opened_at) SELECT :name, :origin, :root, "
    "greatest(clock_timestamp(), (SELECT max(opened_at) + interval '1 microsecond' FROM ledger_shard))"
)


async def anything_waits(conn: Connection) -> bool:
    """Whether any entry has no place yet."""
    return bool((await conn.execute(_WAITS)).scalar_one())


_WAITS = text("SELECT EXISTS (SELECT FROM ledger_pending)")


async def grow(conn: Connection, shard: Shard, *, at_most: int) -> Grown:
    """Gives the entries that wait their places at the end of `shard`, which `open_shard` of this transaction gave.

    By tenant, chain and number: a chain's own order is kept, for whoever sees an entry here sees those before it.
    """
    rows = (await conn.execute(_PENDING, {"limit": at_most})).all()
    if not rows:
        return Grown(0, 0.0)
    leaves = [row.hash for row in rows]
    size = shard.size + len(rows)
    had = await tiles(conn, shard.name, _edge(shard.size))
    made = build(shard.size, leaves, lambda tile: had[tile.full][: tile.width * _HASH])
    await conn.execute(
        _PUT_TILES,
        {
            "shard": shard.name,
            "levels": [tile.level for tile in made],
            "idxs": [tile.index for tile in made],
            "hashes": list(made.values()),
        },
    )
    keys = {"tenants": [r.tenant for r in rows], "chains": [r.chain for r in rows], "seqs": [r.seq for r in rows]}
    moved = await conn.execute(_PLACE, {"shard": shard.name, "first": shard.size, **keys})
    if moved.rowcount != len(rows):
        raise RuntimeError("entries that waited were placed meanwhile, though the shard was locked")
    root = await read_tree(conn, shard.name, size, lambda node: root_at(size, node))
    await conn.execute(_GROW, {"shard": shard.name, "size": size, "root": root})
    return Grown(len(rows), max(row.waited for row in rows))


def _edge(size: int) -> list[Tile]:
    """The partial tiles of a log of that size: the ones that go on growing."""
    edge: list[Tile] = []
    level = 0
    while size:
        if size % WIDTH:
            edge.append(Tile(level, size // WIDTH))
        size //= WIDTH
        level += 1
    return edge


_PENDING = text(
    "SELECT tenant, chain, seq, hash, extract(epoch FROM clock_timestamp() - added_at)::float8 AS waited "
    "FROM ledger_pending ORDER BY tenant, chain, seq LIMIT :limit"
)
_PUT_TILES = text(
    "INSERT INTO ledger_tile (shard, level, idx, hashes) "
    "SELECT :shard, u.level, u.idx, u.hashes FROM unnest(cast(:levels AS smallint[]), cast(:idxs AS bigint[]), "
    "cast(:hashes AS bytea[])) AS u (level, idx, hashes) "
    "ON CONFLICT (shard, level, idx) DO UPDATE SET hashes = excluded.hashes"
)
_PLACE = text(
    "WITH given AS (SELECT * FROM unnest(cast(:tenants AS text[]), cast(:chains AS text[]), cast(:seqs AS bigint[])) "
    "WITH ORDINALITY AS u (tenant, chain, seq, at)), "
    "gone AS (DELETE FROM ledger_pending p USING given g WHERE (p.tenant, p.chain, p.seq) = (g.tenant, g.chain, g.seq) "
    "RETURNING p.tenant, p.chain, p.seq, p.hash, p.added_at, g.at) "
    "INSERT INTO ledger_leaf (shard, idx, tenant, chain, seq, hash, added_at) "
    "SELECT :shard, :first + at - 1, tenant, chain, seq, hash, added_at FROM gone"
)
_GROW = text("UPDATE ledger_shard SET size = :size, root = :root WHERE name = :shard")


async def read_tree(conn: Connection, shard: str, size: int, ask: Callable[[Node], Answer]) -> Answer:
    """What `ask` answers of a shard's first `size` leaves, its tiles read together."""
    there = await tiles(conn, shard, wanted(size, ask))
    return ask(TiledTree(size, lambda tile: there[tile.full][: tile.width * _HASH]).node)


async def tiles(conn: Connection, shard: str, which: Collection[Tile]) -> Mapping[Tile, bytes]:
    """The bytes of tiles, as wide as they are now, by the full tile; those that are not there are left out."""
    if not which:
        return {}
    found = await conn.execute(
        _TILES, {"shard": shard, "levels": [t.level for t in which], "idxs": [t.index for t in which]}
    )
    return {Tile(row.level, row.idx): row.hashes for row in found}


_TILES = text(
    "SELECT t.level, t.idx, t.hashes FROM "
    "unnest(cast(:levels AS smallint[]), cast(:idxs AS bigint[])) AS u (level, idx) "
    "JOIN ledger_tile t ON (t.shard, t.level, t.idx) = (:shard, u.level, u.idx)"
)


async def shards(conn: Connection) -> list[Shard]:
    """All of them, the newest first."""
    return [Shard(*row) for row in await conn.execute(text(f"{_SHARD} ORDER BY opened_at DESC"))]


async def published(conn: Connection, shard: str = "") -> Published | None:
    """The last checkpoint of a shard, or of the newest shard that has one."""
    row = (await conn.execute(_PUBLISHED, {"shard": shard})).one_or_none()
    return None if row is None else Published(*row)


_PUBLISHED = text(
    "SELECT c.shard, c.size, c.root, c.note FROM ledger_checkpoint c JOIN ledger_shard s ON s.name = c.shard "
    "WHERE :shard IN ('', c.shard) ORDER BY s.opened_at DESC, c.size DESC, c.hour DESC LIMIT 1"
)


async def publish(conn: Connection, checkpoint: Published) -> None:
    """Keeps a checkpoint that was signed in place of the one before it in this hour; the same again changes nothing,
    whatever the hour, but a key that signed it as well.

    Raises `NeedsPerson` (`ledger.went_back`) where the log has fewer entries by now: it was left, and they were moved.
    """
    size = (await conn.execute(_KEEP_SIZE, {"shard": checkpoint.shard})).scalar_one()
    if size < checkpoint.size:
        raise went_back(size, checkpoint.size)
    values = {name: getattr(checkpoint, name) for name in Published.__dataclass_fields__}
    await conn.execute(_PUBLISH, values)


# Nothing is moved out of a log (ledger_tails.py) while a checkpoint of it is being kept.
_KEEP_SIZE = text("SELECT size FROM ledger_shard WHERE name = :shard FOR KEY SHARE")
_PUBLISH = text(
    "INSERT INTO ledger_checkpoint AS c (shard, hour, size, root, note) "
    "SELECT n.shard, date_trunc('hour', now()), n.size, n.root, n.note "
    "FROM (SELECT cast(:shard AS text), cast(:size AS bigint), cast(:root AS bytea), cast(:note AS bytea)) "
    "AS n (shard, size, root, note) WHERE NOT EXISTS (SELECT FROM ledger_checkpoint t WHERE (t.shard, t.size) = "
    "(n.shard, n.size) AND octet_length(t.note) >= octet_length(n.note)) ON CONFLICT (shard, hour) DO UPDATE "
    "SET size = excluded.size, root = excluded.root, note = excluded.note, published_at = clock_timestamp() "
    "WHERE excluded.size > c.size OR (excluded.size = c.size AND octet_length(excluded.note) > octet_length(c.note))"
)


def went_back(size: int, signed: int) -> NeedsPerson:
    return NeedsPerson(
        "ledger.went_back",
        f"The log has {size} entries and was signed at {signed}: the database is older than that.",
        "Entries were lost, as by restoring an old backup. docs/ledger.md says what to do.",
    )


@dataclass(frozen=True, slots=True)
class Leaf:
    """The place of an entry."""

    shard: str
    index: int
    header: bytes


async def leaf_of(conn: Connection, tenant: str, chain: str, seq: int) -> Leaf | None:
    """Where an entry of the transaction's tenant is; None where it has no place yet or is not there at all."""
    row = (await conn.execute(_LEAF, {"tenant": tenant, "chain": chain, "seq": seq})).one_or_none()
    return None if row is None else Leaf(*row)


_LEAF = text(
    "SELECT l.shard, l.idx, e.header FROM ledger_leaf l JOIN entry e USING (tenant, chain, seq) "
    "WHERE (l.tenant, l.chain, l.seq) = (:tenant, :chain, :seq)"
)


async def headers_of(conn: Connection, shard: str, tile: Tile) -> list[bytes]:
    """The entries of a bundle, as far as they are of the transaction's tenant."""
    first = tile.index * WIDTH
    rows = await conn.execute(_HEADERS, {"shard": shard, "first": first, "end": first + tile.width})
    return [row.header for row in rows]


_HEADERS = text(
    "SELECT e.header FROM ledger_leaf l JOIN entry e USING (tenant, chain, seq) "
    "WHERE l.shard = :shard AND l.idx >= :first AND l.idx < :end ORDER BY l.idx"
)
