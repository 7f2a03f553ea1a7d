"""`diwan ledger`: recompute the record of every change from what is stored, and prove single entries of it.

`verify` and `prove` read the database itself, as the auditor's role: a service that lies is found out, too.
`search`, `bundle` and `checkpoint` ask the service, `vkey` the signer. `verify-receipt` needs
nothing but its files, but for `--online`.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diwan.cli import (
    ledger_bundles,
    ledger_growth,
    ledger_keys,
    ledger_proofs,
    ledger_receipts,
    ledger_reconcile,
    ledger_search,
)
from diwan.cli.lazy import command_group
from diwan.cli.output import Output, OutputOption, emit, record, say
from diwan.domain.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diwan.ledger.checkpoint import Checkpoint
    from diwan.ledger.policy import Policy
    from diwan.ledger.verify import BadEntry, OddDate
    from diwan.settings import Settings
    from diwan.store.ledger_check import Report
    from diwan.store.ledger_leaf_check import BadTree
    from diwan.store.ledger_tree_check import TreeReport
    from diwan.vault.client import VaultKeyring

Json = dict[str, Any]

DEMO_TENANT = "demo"


def register(app: typer.Typer) -> None:
    group = command_group(_SAYS)
    group.callback()(_about)
    group.command("verify")(verify)
    group.command("search")(ledger_search.search)
    group.command("prove")(ledger_proofs.prove)
    group.command("verify-receipt")(ledger_receipts.verify_receipt)
    group.command("receipt-page")(ledger_receipts.receipt_page)
    group.command("bundle")(ledger_bundles.bundle)
    group.command("verify-bundle")(ledger_bundles.verify_bundle)
    group.command("reconcile")(ledger_reconcile.reconcile)
    group.command("checkpoint")(ledger_proofs.checkpoint)
    group.command("vkey")(ledger_proofs.vkey)
    group.command("keys")(ledger_keys.keys)
    group.command("grown")(ledger_growth.grown)
    group.command("verify-grown")(ledger_growth.verify_grown)
    group.command("cosign")(ledger_growth.cosign)
    app.add_typer(group, name="ledger")


_SAYS = "Recompute the record of every change, name the first bad entry, prove single ones."


def _about() -> None:
    """Recompute the record of every change, name the first bad entry, prove single ones."""


def verify(
    tenant: Annotated[str, typer.Option("--tenant", help="The ministry whose ledger it is.")] = DEMO_TENANT,
    case: Annotated[str, typer.Option("--case", help="Only the chain of this case (its id), without the tree.")] = "",
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Whom you trust: the log's keys and its witnesses.")
    ] = None,
    checkpoints: Annotated[
        list[Path] | None, typer.Option("--checkpoint", metavar="FILE", help="One that you kept; may be repeated.")
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(
            "--other",
            metavar="NAME[=LEAVES]",
            help="A ministry that may have leaves beside this one, no others may; how many, at --checkpoint where one "
            "is given. May be repeated.",
        ),
    ] = None,
    no_others: Annotated[bool, typer.Option("--no-others", help="No other ministry may have leaves.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Recompute every hash and link of a ministry's ledger, every case against its chain, and the tree over all.

    Exits with 1 and names the first bad entry if there is one. Needs DIWAN_DATABASE_URL_AUDITOR (a running embedded
    stack gives it); with the vault's token of an auditor it also opens sealed bodies and checks their commitments.
    """
    from diwan import settings

    trusted = None if policy is None else ledger_proofs.policy_of(policy)
    kept = [ledger_proofs.checkpoint_of(each, trusted) for each in checkpoints or ()]
    others = _others(other or [], none=no_others)
    checked = asyncio.run(check(settings.load(), tenant, case, trusted, kept, others))
    if not checked.report.entries and checked.first_bad is None:
        raise NotFound("ledger.empty", f"There are no entries of {tenant}.", "Check --tenant and --case.")
    data = checked.as_json()
    emit(output, data, lambda width: record([(name.replace("_", " "), value) for name, value in data.items()]))
    count, first = checked.odd_dates
    if count:
        said = "".join(f"\n  {odd}" for odd in first)
        say(f"{count} dates to ask about, which is no finding (docs/ledger.md); the first:{said}")
    if checked.first_bad is not None:
        say(f"The first that does not hold: {checked.first_bad}")
        raise typer.Exit(1)
    if checked.tree and checked.tree.unknown:
        say(f"Leaves are on record as those of ministries that were never set up: {', '.join(checked.tree.unknown)}")


def _others(given: Sequence[str], *, none: bool) -> dict[str, int | None] | None:
    """What `--other` and `--no-others` say; None where neither is given. Raises InvalidInput."""
    if none and given:
        raise InvalidInput("ledger.others_malformed", "There are others or none.", "Give --other or --no-others.")
    expected: dict[str, int | None] = {}
    for each in given:
        name, equals, leaves = each.partition("=")
        if not name or (equals and not (leaves.isascii() and leaves.isdecimal())):
            raise InvalidInput("ledger.others_malformed", f"{each} names no ministry.", "It reads NAME or NAME=LEAVES.")
        expected[name] = int(leaves) if equals else None
    return expected if given or none else None


@dataclass(frozen=True)
class Checked:
    """What was checked of the entries and, unless it was one case's alone, of the tree."""

    report: Report
    tree: TreeReport | None

    @property
    def first_bad(self) -> BadEntry | BadTree | None:
        return self.report.first_bad or (self.tree.first_bad if self.tree else None)

    @property
    def odd_dates(self) -> tuple[int, list[OddDate]]:
        """How many, and the first of them."""
        found = [self.report.odd_dates, *([self.tree.odd_dates] if self.tree else [])]
        return sum(each.count for each in found), [odd for each in found for odd in each.first]

    @property
    def is_signed(self) -> bool:
        """Whether every entry has its place, in a tree whose last checkpoint has all of it."""
        return self.tree is not None and self.tree.waiting == 0 and self.tree.leaves == self.tree.signed > 0

    def as_json(self) -> Json:
        told = asdict(self.report) | (asdict(self.tree) if self.tree else {})
        count, first = self.odd_dates
        said = {"odd_dates": count, "first_odd_dates": [asdict(each) for each in first]}
        return {**told, **said, "first_bad": None if self.first_bad is None else asdict(self.first_bad)}


async def check(
    chosen: Settings,
    tenant: str,
    case: str = "",
    policy: Policy | None = None,
    kept: Sequence[Checkpoint] = (),
    others: Mapping[str, int | None] | None = None,
) -> Checked:
    """What is stored, checked in one snapshot; the tree where no case is named.

    Raises InvalidInput where no auditor's database is named.
    """
    from diwan.cli.connections import database
    from diwan.store.ledger_check import verify_tenant
    from diwan.store.ledger_tree_check import verify_tree

    db, keys = database(chosen, "auditor"), keys_of(chosen)
    try:
        async with db.transaction(tenant, snapshot=True) as conn:
            report = await verify_tenant(conn, tenant, keyring=keys, chain=case or None)
            if case or report.first_bad:
                return Checked(report, None)
            tree = await verify_tree(conn, tenant, policy=policy, kept=kept, others=others)
            return Checked(report, tree)
    finally:
        if keys is not None:
            await keys.aclose()
        await db.dispose()


def keys_of(chosen: Settings) -> VaultKeyring | None:
    """The vault as an auditor may use it; None where no token for it is at hand."""
    from diwan.vault.client import VaultKeyring

    token = chosen.vault_token.get_secret_value() if chosen.vault_token is not None else ""
    if not token or not chosen.vault_address:
        return None
    return VaultKeyring(chosen.vault_address, token)
