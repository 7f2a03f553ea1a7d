"""Looks whether Temporal keeps calls in order: before a pool worker serves, and for `diwan doctor`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from diwan.cli import running
from diwan.cli.connections import TemporalLink
from diwan.domain.errors import DiwanError

if TYPE_CHECKING:
    from temporalio.client import Client

    from diwan.embedded.doctor import Finding
    from diwan.settings import Settings

log = structlog.get_logger()

_WHAT = "order of calls"


async def demand(settings: Settings, client: Client, stop: asyncio.Event) -> None:
    """Returns when Temporal was seen to keep it. Raises `Final` where it does not, unless the settings allow that."""
    from diwan import fairness

    verdict = await running.patiently(_WHAT, lambda: fairness.examine(client), stop)
    if verdict is None or verdict.well:
        return
    if not settings.pool_unfair:
        verdict.demand()
    log.warning("pool.unfair", urgent_first=verdict.urgent, fair=verdict.fair)


def findings(settings: Settings) -> list[Finding]:
    """What `diwan doctor` says of it; nothing where the settings name no service."""
    return [asyncio.run(_finding(settings))] if settings.database_url_relay else []


async def _finding(settings: Settings) -> Finding:
    from diwan import fairness
    from diwan.embedded.doctor import Finding, State

    try:
        async with asyncio.timeout(20):
            verdict = await fairness.examine(await TemporalLink(settings).connect())
    except (DiwanError, RuntimeError, TimeoutError):
        said = f"not tried: Temporal does not answer at {settings.temporal_address}"
        return Finding(_WHAT, State.NOTE, said, "Start it.")
    if verdict.well:
        return Finding(_WHAT, State.OK, "Temporal gives out what is urgent first, and to each ministry its share")
    return Finding(_WHAT, State.WRONG, verdict.told, verdict.remedy)
