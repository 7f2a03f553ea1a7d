"""Pages by key, not by offset: a page goes on after the last row shown, however many were added meanwhile."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Annotated

import orjson
from fastapi import Query

from diwan.domain.errors import InvalidInput
from diwan.web.limits import Limits

Cursor = Annotated[str, Query(max_length=300, description="`next` of the page before; absent for the first page")]
Size = Annotated[int, Query(ge=1, le=Limits.page_size_max, description="how many at most")]
Key = tuple[datetime, str]


def cursor_of(key: Key) -> str:
    """An opaque text that stands for the row of this instant and id."""
    packed = orjson.dumps([key[0].astimezone(UTC).isoformat(), key[1]])
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def key_of(cursor: str) -> Key | None:
    """The row that a cursor stands for; None for the first page. Raises `InvalidInput` for any other text."""
    if not cursor:
        return None
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        at, row = orjson.loads(packed)
        instant = datetime.fromisoformat(at)
        if isinstance(row, str) and "\0" not in row and instant.tzinfo is not None:
            return instant, row
    except (ValueError, TypeError, AttributeError):
        pass
    raise InvalidInput(
        "http.cursor_invalid", "The cursor is not one of ours.", "Take `next` of the page before, or leave it out."
    )
