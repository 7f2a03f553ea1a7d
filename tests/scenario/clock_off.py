"""The command line on a machine whose clock is a day ahead, or behind: TEST_CLOCK_OFF_S says by how much."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from diwan.cli import main, processes
from diwan.pool import clock

OFF = timedelta(seconds=float(os.environ["TEST_CLOCK_OFF_S"]))


class _Wrong(datetime):
    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return datetime.now(UTC) + OFF


if __name__ == "__main__":
    clock.datetime = _Wrong
    processes.datetime = _Wrong  # pyright: ignore[reportPrivateImportUsage]
    main.run()
