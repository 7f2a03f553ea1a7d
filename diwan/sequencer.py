"""The sequencer: gives entries of the ledger their place in the tree, and has the tree signed as it grows.

Two passes, apart: growing needs the database alone, so a signer that is away delays checkpoints and nothing else. What
is signed is proved to the signer to begin with what it signed before (diwan/signer), which remembers that by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

import structlog

from diwan import metrics
from diwan.domain.errors import DiwanError, NeedsPerson
from diwan.ledger.checkpoint import Checkpoint, parse_checkpoint
from diwan.ledger.note import parse_note
from diwan.ledger.tree import consistency_proof
from diwan.store.database import Database
from diwan.store.ledger_tree import Published, anything_waits, grow, open_shard, publish, read_tree, shards

log = structlog.get_logger()

# A pass holds its transaction for a fraction of a second, however much waits.
AT_MOST = 5_000


class Signer(Protocol):
    """Signs checkpoints, and only ever of a log that grew."""

    def last(self, origin: str) -> Awaitable[bytes | None]:
        """The note that it signed last for a log; None where it signed none."""
        ...

    def sign(self, checkpoint: Checkpoint, proof: list[bytes]) -> Awaitable[bytes]:
        """The note; `proof` shows that the tree signed last is the beginning of this one."""
        ...


class Sequencer:
    """`db` connects as diwan_sequencer; `origin` begins the name of each shard's log."""

    def __init__(self, db: Database, signer: Signer, origin: str, *, at_most: int = AT_MOST) -> None:
        self._db = db
        self._signer = signer
        self._origin = origin
        self._at_most = at_most
        self._signed: dict[str, Checkpoint] = {}

    async def grow_once(self) -> int:
        """Places what waits; how many entries, so 0 says that nothing waits now."""
        async with self._db.transaction(None) as conn:
            if not await anything_waits(conn):
                return 0  # and nothing is locked, which would be written down
            shard = await open_shard(conn, self._origin)
            done = await grow(conn, shard, at_most=self._at_most)
        if done.entries:
            metrics.LEDGER_PLACED.observe(done.waited_s)
        return done.entries

    async def publish_once(self) -> int:
        """Has every shard of this origin signed that is not as it was signed last; 0: nothing more to do now.

        One that is refused keeps no other from being signed: the first error is raised at the end.
        """
        async with self._db.transaction(None) as conn:
            there = [shard for shard in await shards(conn) if shard.origin.rpartition("/")[0] == self._origin]
        refused: DiwanError | None = None
        for shard in there:
            checkpoint = Checkpoint(shard.origin, shard.size, shard.root)
            metrics.LEDGER_SIZE.set(shard.size, shard.name)
            # Compared with what the signer said, not with what the database has of it: that may be an old backup.
            if self._signed.get(shard.name) != checkpoint:
                try:
                    await self._publish(shard.name, checkpoint)
                    self._signed[shard.name] = checkpoint
                except DiwanError as error:
                    log.error("ledger.not_signed", shard=shard.name, size=shard.size, code=error.code)
                    refused = refused or error
        if refused is not None:
            raise refused
        return 0

    async def _publish(self, shard: str, checkpoint: Checkpoint) -> None:
        """Raises `NeedsPerson` where the signer knows of a longer log: the database is older than what was signed."""
        metrics.LEDGER_SIGNED.set(self._signed[shard].size if shard in self._signed else 0, shard)
        before = await self._signer.last(checkpoint.origin)
        old = 0 if before is None else parse_checkpoint(parse_note(before).text).size
        metrics.LEDGER_SIGNED.set(old, shard)
        if old > checkpoint.size:
            raise NeedsPerson(
                "ledger.went_back",
                f"The log has {checkpoint.size} entries and was signed at {old}: the database is older than that.",
                "Entries were lost, as by restoring an old backup. docs/ledger.md says what to do.",
            )
        async with self._db.transaction(None) as conn:
            proof = await read_tree(
                conn, shard, checkpoint.size, lambda node: consistency_proof(old, checkpoint.size, node)
            )
        note = await self._signer.sign(checkpoint, proof)
        async with self._db.transaction(None) as conn:
            await publish(conn, Published(shard, checkpoint.size, checkpoint.root, note))
        metrics.LEDGER_SIGNED.set(checkpoint.size, shard)
