"""Lines for whoever runs the bench, on stderr, with the time since it began."""

from __future__ import annotations

import sys
import time

_BEGAN = time.monotonic()


def say(line: str) -> None:
    sys.stderr.write(f"[{time.monotonic() - _BEGAN:6.1f} s] {line}\n")
    sys.stderr.flush()
