"""Every test runs in one of the two runs of `make test`."""

from __future__ import annotations

from tests.both import APART, ROOT, STACKS


def test_what_runs_apart_is_there() -> None:
    assert [path for path in (*STACKS, *APART) if not (ROOT / path).exists()] == []
