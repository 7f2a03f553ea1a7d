"""A real Temporal server for this folder's tests, and a client of it for each."""

from __future__ import annotations

from tests.support.temporal import server, temporal

__all__ = ["server", "temporal"]
