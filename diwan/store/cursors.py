"""Where the page of a list went to: the time and id of its last row."""

from __future__ import annotations

from datetime import datetime

from diwan.domain.errors import InvalidInput


def cursor_of(at: datetime, id_: str) -> str:
    return f"{at.isoformat()}|{id_}"


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """Raises `InvalidInput` for a cursor that is none of ours."""
    at, _, last = cursor.partition("|")
    try:
        return datetime.fromisoformat(at), last
    except ValueError:
        raise InvalidInput(
            "list.bad_cursor", "This is not a page's cursor.", "Take `next` of the page before."
        ) from None
