"""What the relay puts away: uploads that no event has named for days."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from diwan import metrics
from diwan.store.database import Database
from diwan.store.uploads import remove_upload, unnamed_uploads

log = structlog.get_logger()

Clock = Callable[[], datetime]


class Uploads:
    """Removes uploads that nobody named within `kept`. Nothing was accepted with them, so no ledger says so.

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
