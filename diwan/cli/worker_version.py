"""As which version `diwan worker` runs, and `--promote`; diwan/versions.py says what a version is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from diwan.cli import running
from diwan.cli.connections import TemporalLink
from diwan.cli.output import say
from diwan.domain.errors import Unavailable

if TYPE_CHECKING:
    from temporalio.client import Client

    from diwan.settings import Settings


@asynccontextmanager
async def of_this_worker(settings: Settings, client: Client, stop: asyncio.Event) -> AsyncGenerator[str]:
    """The version as which this worker polls, made current as soon as that takes cases from nobody; empty: none."""
    from diwan import versions

    if settings.worker_versioning == "off":
        await running.patiently("temporal", lambda: versions.leave_versions(client), stop)
        yield ""
        return
    if not await running.patiently("temporal", lambda: versions.is_supported(client), stop):
        yield ""
        return
    build, alone = versions.build_id(), settings.worker_versioning == "alone"
    making = asyncio.create_task(versions.make_current(client, build, alone=alone), name="make-version-current")
    try:
        yield build
    finally:
        making.cancel()


async def promote(settings: Settings) -> None:
    """`diwan worker --promote`: this code's version gets the cases from now on."""
    from diwan import versions

    try:
        client = await TemporalLink(settings).connect()
    except RuntimeError:
        raise Unavailable("temporal.unavailable", "Temporal does not answer.", "Start it, then try again.") from None
    before = await versions.promote(client, versions.build_id())
    say(f"{versions.build_id()} gets the cases now; before it was {before or 'no version'}")
