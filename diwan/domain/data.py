"""How much the data of a procedure ask of whoever may see them."""

from __future__ import annotations

from enum import StrEnum


class DataClass(StrEnum):
    """`personal` is the default. `sensitive`: health, belief, origin, crime and the like, as the law lists them."""

    PUBLIC = "public"
    PERSONAL = "personal"
    SENSITIVE = "sensitive"
