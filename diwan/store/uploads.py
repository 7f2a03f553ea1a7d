"""Uploads that no event has named: which they are, and how one is removed. Ids and times only, for the relay's role.

A sender that never saw the answer to its upload sends the document again: the first one belongs to nobody then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from diwan.store.connection import Connection

# Row security shows the relay no other documents.
_UNNAMED = text(
    "SELECT tenant, id FROM document WHERE received_at < :before ORDER BY received_at, tenant, id LIMIT :limit"
)
_REMOVE = text("SELECT diwan_remove_upload(:tenant, :id, :before)")


@dataclass(frozen=True)
class Upload:
    tenant: str
    id: str


async def unnamed_uploads(conn: Connection, before: datetime, *, limit: int = 100) -> list[Upload]:
    """Uploads of all ministries that came before then and that no event has named, oldest first."""
    return [Upload(*row) for row in await conn.execute(_UNNAMED, {"before": before, "limit": limit})]


async def remove_upload(conn: Connection, upload: Upload, before: datetime) -> bool:
    """Removes an upload with its bytes; whether it did: not where an event has named it since, or it is gone."""
    asked = {"tenant": upload.tenant, "id": upload.id, "before": before}
    return bool((await conn.execute(_REMOVE, asked)).scalar_one())
