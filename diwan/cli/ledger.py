"""`diwan ledger verify`: recompute the record of every change from what is stored.

It reads the database itself, as the auditor's role: a service that lies is found out, too.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diwan.cli.lazy import command_group
from diwan.cli.output import Output, OutputOption, emit, record, say
from diwan.domain.errors import NotFound

if TYPE_CHECKING:
    from diwan.settings import Settings
    from diwan.store.ledger_check import Report
    from diwan.vault.client import VaultKeyring

Json = dict[str, Any]

DEMO_TENANT = "demo"


def register(app: typer.Typer) -> None:
    group = command_group("Recompute the record of every change and name the first bad entry.")
    group.callback()(_about)
    group.command("verify")(verify)
    app.add_typer(group, name="ledger")


def _about() -> None:
    """Recompute the record of every change and name the first bad entry."""


def verify(
    tenant: Annotated[str, typer.Option("--tenant", help="The ministry whose ledger it is.")] = DEMO_TENANT,
    case: Annotated[str, typer.Option("--case", help="Only the chain of this case (its id).")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Recompute every hash and link of a ministry's ledger, and every case against its chain.

    Exits with 1 and names the first bad entry if there is one. Needs DIWAN_DATABASE_URL_AUDITOR (a running embedded
    stack gives it); with the vault's token of an auditor it also opens sealed bodies and checks their commitments.
    """
    from diwan import settings

    report = asyncio.run(check(settings.load(), tenant, case))
    if not report.entries:
        raise NotFound("ledger.empty", f"There are no entries of {tenant}.", "Check --tenant and --case.")
    data = as_json(report)
    emit(output, data, lambda width: record([(name.replace("_", " "), value) for name, value in data.items()]))
    if report.first_bad is not None:
        say(f"The first bad entry: {report.first_bad}")
        raise typer.Exit(1)


async def check(chosen: Settings, tenant: str, case: str = "") -> Report:
    """What is stored, checked in one snapshot. Raises InvalidInput where no auditor's database is named."""
    from diwan.cli.connections import database
    from diwan.store.ledger_check import verify_tenant

    db, keys = database(chosen, "auditor"), _keys(chosen)
    try:
        async with db.transaction(tenant, snapshot=True) as conn:
            return await verify_tenant(conn, tenant, keyring=keys, chain=case or None)
    finally:
        if keys is not None:
            await keys.aclose()
        await db.dispose()


def as_json(report: Report) -> Json:
    return asdict(report) | {"first_bad": None if report.first_bad is None else asdict(report.first_bad)}


def _keys(chosen: Settings) -> VaultKeyring | None:
    """The vault as an auditor may use it; None where no token for it is at hand."""
    from diwan.vault.client import VaultKeyring

    token = chosen.vault_token.get_secret_value() if chosen.vault_token is not None else ""
    if not token or not chosen.vault_address:
        return None
    return VaultKeyring(chosen.vault_address, token)
