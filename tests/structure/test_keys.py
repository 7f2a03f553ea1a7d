"""Routes have a scope's keys in one way only, which opens nothing that is erased (docs/erasure.md)."""

from __future__ import annotations

import re
from pathlib import Path

WEB = Path(__file__).resolve().parents[2] / "diwan" / "web"
_ASKED = re.compile(r"keyring\s*\.cipher\(")


def test_no_route_asks_the_vault_for_keys_itself() -> None:
    asking = [path.relative_to(WEB) for path in sorted(WEB.rglob("*.py")) if _ASKED.search(path.read_text())]
    assert asking == [Path("dependencies.py")]
