"""This machine's two clocks, read together. Linux only, as the rest."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from diwan.domain.clock import Reading

# Longer between two looks at the steady clock, and the look at the wall clock between them says nothing.
_AT_ONCE_S = 1.0


def read() -> Reading:
    """Wall clock (UTC), and seconds since the machine started, time asleep included."""
    while True:
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        wall = datetime.now(UTC)
        after = time.clock_gettime(time.CLOCK_BOOTTIME)
        if after - before < _AT_ONCE_S:
            return Reading(wall, _boot(), after)


@lru_cache(maxsize=1)
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
