"""Whose each leaf of the tree is: that an entry stands behind every one, and the tenant's in their chains' order.

Of other ministries an auditor sees no entry. The database says of each leaf whose it is, and whether an entry of that
ministry, by its own header, has this hash (`diwan_leaves`): so what was taken out does not become somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text

from diwan.ledger.checkpoint import Checkpoint
from diwan.ledger.verify import BadEntry, OddDates, dated_outside
from diwan.store.connection import Connection
from diwan.store.ledger_tree import Shard

_BATCH = 2_000


@dataclass(frozen=True, slots=True)
class BadTree:
    """What of a shard does not hold: `reason` is a machine name, `text` is for people."""

    shard: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"log {self.shard}: {self.text}"


def reach_of(there: Sequence[Shard], kept: Sequence[Checkpoint]) -> dict[str, int]:
    """How many leaves of each shard, of which the newest comes first, stood when the newest of `kept` was signed: all
    of those before it, none of those after. Of every shard all where nothing was kept."""
    sizes = {checkpoint.origin: 0 for checkpoint in kept}
    for checkpoint in kept:
        sizes[checkpoint.origin] = max(sizes[checkpoint.origin], checkpoint.size)
    reach: dict[str, int] = {}
    older = not kept
    for shard in there:
        older = older or shard.origin in sizes
        reach[shard.name] = sizes.get(shard.origin, shard.size) if older else 0
    return reach


class LeafCheck:
    """Over all shards, the oldest first. `leaves` counts them by ministry, `reached` those within `reach` of their
    shard; `placed` are the tenant's own whose entries hold; `unknown` ministries were never set up."""

    def __init__(self, conn: Connection, tenant: str, reach: Mapping[str, int]) -> None:
        self._conn = conn
        self._tenant = tenant
        self._reach = reach
        self._first: dict[str, tuple[str, int]] = {}
        self._last: dict[str, int] = {}
        self.leaves: dict[str, int] = {}
        self.reached: dict[str, int] = {}
        self.unknown: set[str] = set()
        self.placed = 0
        self.odd_dates = OddDates()
        self._oldest = ""

    async def shard(self, shard: Shard) -> BadEntry | BadTree | None:
        self._oldest = self._oldest or shard.name
        return await self._every_leaf_is_somebodys(shard) or await self._own_hold(shard)

    def differ_from(self, others: Mapping[str, int | None]) -> BadTree | None:
        """No ministry beside the tenant and `others` has leaves, and of these each as many as said."""
        for name in sorted(self.reached.keys() - others.keys() - {self._tenant}):
            shard, idx = self._first[name]
            return BadTree(shard, "tree.others_differ", f"leaf {idx} is {name}'s, which was to have none")
        for name, expected in others.items():
            found = self.reached.get(name, 0)
            if expected is not None and found != expected:
                shard = self._first.get(name, (next(iter(self._reach), ""), 0))[0]
                return BadTree(shard, "tree.others_differ", f"{name} has {found} leaves, not {expected}")
        return None

    async def _every_leaf_is_somebodys(self, shard: Shard) -> BadTree | None:
        """Every place of the tree has its row, with the tile's hash, and every row its entry.

        A hash in a tile without one would be an entry that nobody has: one that was taken out, or made up.
        """
        count, after = 0, -1
        while True:
            rows = (await self._conn.execute(_ALL, {"shard": shard.name, "after": after, "limit": _BATCH})).all()
            for row in rows:
                if row.idx != count or count >= shard.size:
                    return BadTree(shard.name, "tree.leaf_missing", f"leaf {count} is no entry's on record")
                if bad := self._leaf_holds(shard, row):
                    return bad
                count += 1
            if len(rows) < _BATCH:
                break
            after = rows[-1].idx
        if count != shard.size:
            return BadTree(shard.name, "tree.leaf_missing", f"leaf {count} is no entry's on record")
        return None

    def _leaf_holds(self, shard: Shard, row: Row[Any]) -> BadTree | None:
        if row.hash != row.there:
            return BadTree(shard.name, "tree.leaf_differs", f"leaf {row.idx} is another hash than its tile has")
        if row.tenant != self._tenant:  # of the tenant's own the entries themselves are looked at
            if not row.stands:
                why = f"leaf {row.idx} is on record as {row.tenant}'s, and no entry of that ministry has its hash"
                if row.known:
                    return BadTree(shard.name, "tree.entry_missing", why)
                return BadTree(shard.name, "tree.ministry_unknown", f"{why}: the service does not know that ministry")
            if not row.known:  # was never set up; whoever comes with a token of it is refused, which is on record
                self.unknown.add(row.tenant)
        self._first.setdefault(row.tenant, (shard.name, row.idx))
        self.leaves[row.tenant] = self.leaves.get(row.tenant, 0) + 1
        if row.idx < self._reach[shard.name]:
            self.reached[row.tenant] = self.reached.get(row.tenant, 0) + 1
        return None

    async def _own_hold(self, shard: Shard) -> BadEntry | None:
        """Each leaf of the tenant's is the hash of its entry, after those before it in its chain."""
        after = -1
        while True:
            given = {"tenant": self._tenant, "shard": shard.name, "after": after, "limit": _BATCH}
            rows = (await self._conn.execute(_LEAVES, given)).all()
            for row in rows:
                if bad := self._own_holds(row):
                    return bad
                self._last[row.chain] = row.seq
                self.placed += 1
                place, year = (self._tenant, row.chain, row.seq), int(shard.name[:4])
                is_oldest = shard.name == self._oldest
                self.odd_dates.add(dated_outside(place, row.at, row.added_at, year, is_oldest=is_oldest))
            if len(rows) < _BATCH:
                return None
            after = rows[-1].idx

    def _own_holds(self, row: Row[Any]) -> BadEntry | None:
        def bad(reason: str, why: str) -> BadEntry:
            return BadEntry(self._tenant, row.chain, row.seq, reason, f"leaf {row.idx} {why}")

        if row.entry is None:
            return bad("entry.missing", "has no entry")
        if row.entry != row.hash:
            return bad("tree.leaf_differs", "is not the entry's hash")
        if row.seq <= self._last.get(row.chain, 0):
            return bad("tree.out_of_order", "stands after a later entry of its chain")
        return None


_ALL = text(
    "SELECT l.idx, l.tenant, l.hash, l.stands, l.known, substr(t.hashes, (l.idx % 256)::int * 32 + 1, 32) AS there "
    "FROM diwan_leaves(:shard, :after, :limit) l "
    "LEFT JOIN ledger_tile t ON (t.shard, t.level, t.idx) = (:shard, 0, l.idx / 256) ORDER BY l.idx"
)
_LEAVES = text(
    "SELECT l.idx, l.chain, l.seq, l.hash, l.added_at, e.hash AS entry, e.at "
    "FROM ledger_leaf l LEFT JOIN entry e USING (tenant, chain, seq) "
    "WHERE l.tenant = :tenant AND l.shard = :shard AND l.idx > :after ORDER BY l.idx LIMIT :limit"
)
