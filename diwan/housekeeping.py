"""What the relay puts away: uploads that no event has named for days, and hosts of the pool that are long gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from diwan import metrics
from diwan.store.database import Database
from diwan.store.pool_hosts import forget
from diwan.store.uploads import remove_upload, unnamed_uploads

log = structlog.get_logger()

Clock = Callable[[], datetime]

# A host that comes back within it is known by its name, and what it said last is still shown to who asks the database.
HOSTS_KEPT = timedelta(days=7)


class Uploads:
    """Removes uploads that nobody named within `kept`. Nothing was accepted with them, so no ledger says so.

    What is noted with the removal has the case worker destroy the keys, and that has its entries (diwan/erasing.py).

    `db` connects as diwan_relay.
    """

    def __init__(self, db: Database, clock: Clock, kept: timedelta) -> None:
        self._db = db
        self._clock = clock
        self._kept = kept

    async def pass_once(self) -> int:
        """Each in a transaction of its own, so that no event that takes several waits for more than one of them.

        Returns how many were removed.
        """
        before, removed = self._clock() - self._kept, 0
        async with self._db.transaction(None) as conn:
            found = await unnamed_uploads(conn, before)
        for upload in found:
            async with self._db.transaction(None) as conn:
                done = await remove_upload(conn, upload, before)
            if done:
                removed += 1
                metrics.UPLOADS_REMOVED.add(1, upload.tenant)
        if removed:
            log.info("uploads.removed", count=removed)
        return removed


class GoneHosts:
    """Forgets hosts that gave no sign of life for `HOSTS_KEPT`, by the database's clock as their signs are.

    `db` connects as diwan_relay.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def pass_once(self) -> int:
        """Returns how many went; the log names each, as operators named it."""
        async with self._db.transaction(None) as conn:
            gone = await forget(conn, unseen_s=HOSTS_KEPT.total_seconds())
        for host in gone:
            log.info("pool_host.forgotten", host=host.host, model=host.model, unseen_days=int(host.unseen_s // 86_400))
        return len(gone)
