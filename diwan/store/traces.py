"""Where a case's spans hang: the context that its row has kept since it was opened."""

from __future__ import annotations

from collections import OrderedDict

from sqlalchemy import select

from diwan.store.database import Database
from diwan.store.tables import case_file

_KEPT = 4096


class CaseTraces:
    """Contexts of cases, asked for once by a process: they never change."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def of(self, tenant: str, case: str) -> str:
        """Empty for a case that was opened while nobody traced. Raises `Unavailable`."""
        known = self._known.get((tenant, case))
        if known is None:
            async with self._db.transaction(tenant) as conn:
                found = await conn.execute(
                    select(case_file.c.traceparent).where(case_file.c.tenant == tenant, case_file.c.id == case)
                )
                known = found.scalar() or ""
            self._known[tenant, case] = known
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known
