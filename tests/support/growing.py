"""A log that grows in a service's database: entries of ministries, a sequencer, a signer with a folder of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from diwan.domain.actor import system
from diwan.ledger.checkpoint import Checkpoint
from diwan.ledger.note import Note
from diwan.ledger.policy import Policy
from diwan.sequencer import Sequencer
from diwan.signer.memory import Memory
from diwan.signer.protocol import KeysAnswer
from diwan.store.database import Database
from diwan.store.entries import append_entry
from diwan.store.ledger_cosigned import keep_brought
from tests.support.databases import TestDatabase
from tests.support.factories import TENANT

ORIGIN = "ledger.example/log"


class OwnSigner:
    """The signer's memory, asked without HTTP. `away` is raised while it is set."""

    def __init__(self, folder: Path, origin: str = ORIGIN) -> None:
        self.memory = Memory(folder, origin, lambda: datetime.now(UTC))
        self.away: Exception | None = None

    async def keys(self) -> KeysAnswer:
        if self.away:
            raise self.away
        return KeysAnswer(keys=tuple(self.memory.keys()), retired=tuple(self.memory.retired()))

    async def last(self, origin: str) -> bytes | None:
        if self.away:
            raise self.away
        note = self.memory.last(origin)
        return None if note is None else bytes(note)

    async def sign(self, checkpoint: Checkpoint, proof: list[bytes]) -> bytes:
        if self.away:
            raise self.away
        return bytes(self.memory.sign(checkpoint, proof))


class Grower:
    """Writes entries of a ministry, gives them their places and has them signed."""

    def __init__(self, worker: Database, sequencers: Database, sequencer: Sequencer, memory: Memory) -> None:
        self._worker = worker
        self._sequencers = sequencers
        self._sequencer = sequencer
        self.memory = memory

    async def keep(self, note: Note, trusted: Policy) -> None:
        """Keeps what a witness cosigned, as `diwan ledger cosign` does."""
        async with self._sequencers.transaction(None) as conn:
            await keep_brought(conn, note, trusted)

    async def grow(self, count: int, tenant: str = TENANT) -> None:
        now = datetime.now(UTC)
        async with self._worker.transaction(tenant) as conn:
            for _ in range(count):
                await append_entry(conn, tenant, "tests/web", "tests:entry:written", system(tenant, "test"), now=now)
        await self._sequencer.grow_once()
        await self._sequencer.publish_once()


@asynccontextmanager
async def growing(database: TestDatabase, folder: Path) -> AsyncGenerator[Grower]:
    signer = OwnSigner(folder)
    sequencers = Database.connect(database.url("diwan_sequencer"), role="diwan_sequencer")
    workers = Database.connect(database.url("diwan_worker"), role="diwan_worker")
    yield Grower(workers, sequencers, Sequencer(sequencers, signer, ORIGIN), signer.memory)
    await workers.dispose()
    await sequencers.dispose()
    signer.memory.close()
