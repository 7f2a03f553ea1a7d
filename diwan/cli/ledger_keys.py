"""`diwan ledger keys`: which keys signed the log, and from when to when, as its own checkpoints show."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from diwan.cli.ledger_proofs import policy_of
from diwan.cli.output import Column, Output, OutputOption, emit, table
from diwan.cli.pictures import minute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diwan.ledger.policy import Policy
    from diwan.settings import Settings
    from diwan.store.ledger_keys import KeySeen

_KEYS = (
    Column("Key", "key", keep=True),
    Column("From entries", "first_size", right=True),
    Column("Since", "first_at"),
    Column("To entries", "last_size", right=True),
    Column("Until", "last_at"),
    Column("Policy", "trusted"),
)


def keys(
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Check the lines of the keys that it names.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say which keys signed the log, each with the first and the last checkpoint that is kept with its line.

    One is kept for each hour in which the log grew. Needs DIWAN_DATABASE_URL_AUDITOR. Lines of keys that the policy
    does not name are as they stand there, which nobody has checked.
    """
    from diwan import settings

    found = asyncio.run(_seen(settings.load(), None if policy is None else policy_of(policy)))
    items = [
        {**asdict(each), "first_at": each.first_at.isoformat(), "last_at": each.last_at.isoformat()} for each in found
    ]
    rows = [
        {
            **item,
            "first_at": minute(str(item["first_at"])),
            "last_at": minute(str(item["last_at"])),
            "trusted": "yes" if item["trusted"] else "",
        }
        for item in items
    ]
    emit(output, items, lambda width: table(_KEYS, rows, width=width) if rows else Text("Nothing is signed yet."))


async def _seen(chosen: Settings, policy: Policy | None) -> Sequence[KeySeen]:
    from diwan.cli.connections import database
    from diwan.store.ledger_keys import keys_seen

    db = database(chosen, "auditor")
    try:
        async with db.transaction(None, snapshot=True) as conn:
            return await keys_seen(conn, policy)
    finally:
        await db.dispose()
