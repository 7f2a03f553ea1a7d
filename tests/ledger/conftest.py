"""A policy that trusts the log of tests/ledger/bundles.py, and a place for a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger.bundles import LOG, SEEN_BY, Saved


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy"
    lines = (f"log {LOG.key.verifier}", f"witness court {SEEN_BY.verifier}", "quorum court", "")
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    def save(content: bytes) -> Path:
        path = tmp_path / "bundle.zip"
        path.write_bytes(content)
        return path

    return save
