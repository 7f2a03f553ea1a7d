"""A host of the pool: one pool worker beside one engine, and the name by which its queue and its calls go."""

from __future__ import annotations

import secrets


def name_of_host(wanted: str = "") -> str:
    """The name that operators gave it, else one made up: never the machine's, which may be somebody's."""
    return wanted or f"host-{secrets.token_hex(4)}"
