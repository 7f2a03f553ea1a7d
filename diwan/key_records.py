"""Puts on every ministry's ledger when a key that wraps its cases' keys began, and when it was destroyed.

What is done with such a key, an operator does on the vault's machine, which knows neither Postgres nor a ministry
(`diwan vault rotate`, `retire`). So the case worker asks the vault and records what is not on record yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

import structlog

from diwan.domain.ports import Epochs, KeyEpoch
from diwan.store import key_epochs
from diwan.store.database import Database
from diwan.store.tenants import over_all

log = structlog.get_logger()


class KeyRecords:
    """`db` connects as diwan_worker."""

    def __init__(self, db: Database, vault: Epochs, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._vault = vault
        self._clock = clock

    async def pass_once(self) -> int:
        """Asks once, and looks through every ministry; 0, there is no more to do at once. Raises `Unavailable`."""
        await over_all(self._db, partial(self._of_tenant, await self._vault.epochs()))
        return 0

    async def _of_tenant(self, epochs: Sequence[KeyEpoch], tenant: str) -> int:
        async with self._db.transaction(tenant) as conn:
            recorded = await key_epochs.record(conn, tenant, epochs, now=self._clock())
        if recorded:
            log.info("keys.recorded", tenant=tenant, entries=recorded)
        return recorded
