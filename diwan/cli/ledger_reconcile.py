"""`diwan ledger reconcile`: entries, rows and histories of cases against each other, and what has no twin."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType

from diwan.cli.output import Column, Output, OutputOption, emit, record, say, table

if TYPE_CHECKING:
    from temporalio.client import Client

    from diwan.reconcile import Reconciled
    from diwan.settings import Settings

DEMO_TENANT = "demo"


def reconcile(
    case: Annotated[str, typer.Argument(metavar="[CASE]", help="Number or id; else all cases.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="The ministry whose cases they are.")] = DEMO_TENANT,
    without_temporal: Annotated[
        bool, typer.Option("--without-temporal", help="Compare with kept histories only, not with those of open runs.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Match entries, rows and workflow histories of cases one to one, both ways, and name what has no twin.

    Exits with 1 where there is a finding. Needs DIWAN_DATABASE_URL_AUDITOR, and the vault's token of an auditor to open
    histories; says what it could not compare.
    """
    from diwan import settings

    began = time.monotonic()
    told = asyncio.run(reconciled(settings.load(), tenant, case, without_temporal=without_temporal))
    data = {
        **{"tenant": told.tenant, "cases": told.cases, "seconds": round(time.monotonic() - began, 1)},
        **{"counts": dict(sorted(told.counts.items())), "by_name": dict(sorted(told.by_name.items()))},
        "findings": [asdict(each) for each in told.findings],
    }
    emit(output, data, lambda width: _picture(told, width))
    if told.by_name:
        say(f"{told.by_name.total()} findings")
        raise typer.Exit(1)


def _picture(told: Reconciled, width: int) -> RenderableType:
    counts = record([("cases", told.cases), *sorted(told.counts.items())])
    rows = [asdict(each) for each in told.findings]
    return Group(counts, table(_COLUMNS, rows, width=width)) if rows else counts


_COLUMNS = (
    Column("finding", "name", keep=True),
    Column("case", "case"),
    Column("where", "where"),
    Column("what", "text"),
)


async def reconciled(chosen: Settings, tenant: str, case: str = "", *, without_temporal: bool = False) -> Reconciled:
    """Of one case, or of all. Raises `NotFound`, and InvalidInput where no auditor's database is named."""
    from diwan.cli.connections import database
    from diwan.cli.ledger import keys_of
    from diwan.reconcile import Reconciliation

    db, keys = database(chosen, "auditor"), keys_of(chosen)
    try:
        client = None if without_temporal else await _temporal(chosen)
        work = Reconciliation(db, keys, client, datetime.now(UTC))
        return await (work.of_case(tenant, case) if case else work.of_all(tenant))
    finally:
        if keys is not None:
            await keys.aclose()
        await db.dispose()


async def _temporal(chosen: Settings) -> Client | None:
    from diwan.cli.connections import TemporalLink

    try:
        return await TemporalLink(chosen).connect()
    except (RuntimeError, OSError):
        say("Temporal does not answer: runs that go on are not compared.")
        return None
