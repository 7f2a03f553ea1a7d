"""A ledger in a database, a signer with a folder of its own, and a sequencer between them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from diwan.domain.actor import system
from diwan.ledger.checkpoint import Checkpoint
from diwan.sequencer import Sequencer
from diwan.signer.memory import Memory
from diwan.store.database import Database
from diwan.store.entries import append_entry

ORIGIN = "ledger.example/log"
TENANT = "demo"


class OwnSigner:
    """The signer's memory, asked without HTTP. `away` is raised while it is set."""

    def __init__(self, folder: Path, origin: str = ORIGIN) -> None:
        self.memory = Memory(folder, origin, lambda: datetime.now(UTC))
        self.away: Exception | None = None

    async def last(self, origin: str) -> bytes | None:
        if self.away:
            raise self.away
        note = self.memory.last(origin)
        return None if note is None else bytes(note)

    async def sign(self, checkpoint: Checkpoint, proof: list[bytes]) -> bytes:
        if self.away:
            raise self.away
        return bytes(self.memory.sign(checkpoint, proof))


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[OwnSigner]:
    made = OwnSigner(tmp_path / "signer")
    yield made
    made.memory.close()


@pytest.fixture
def sequencer(connect: Callable[[str], Database], signer: OwnSigner) -> Sequencer:
    return Sequencer(connect("diwan_sequencer"), signer, ORIGIN)


Write = Callable[..., Awaitable[None]]


@pytest.fixture
def write(worker: Database, now: datetime) -> Write:
    """Writes `count` entries on a chain outside cases, one transaction each unless `together`."""

    async def written(count: int, chain: str = "tests/one", tenant: str = TENANT, *, together: bool = True) -> None:
        if together:
            async with worker.transaction(tenant) as conn:
                for _ in range(count):
                    await append_entry(conn, tenant, chain, "tests:entry:written", system(TENANT, "test"), now=now)
        else:
            for _ in range(count):
                await written(1, chain, tenant)

    return written
