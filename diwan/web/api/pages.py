"""Parameters of lists. Pages go on after the last row shown (a cursor), however many rows were added meanwhile."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from diwan.web.limits import Limits

Cursor = Annotated[str, Query(max_length=300, description="`next` of the page before; absent for the first page")]
Size = Annotated[int, Query(ge=1, le=Limits.page_size_max, description="how many at most")]
