"""`diwan ledger bundle` and `verify-bundle`: the file of a case for those outside, and whether it holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from diwan.cli.credentials import AsOption, AsRole, PurposeOption, connect
from diwan.cli.ledger_proofs import PolicyOption, bytes_of, readable, write
from diwan.cli.output import Output, OutputOption, emit, record, say
from diwan.domain.text import Language


def bundle(
    case: Annotated[str, typer.Argument(metavar="CASE", help="Number or id.")],
    to: Annotated[Path, typer.Option("--to", "-o", metavar="FILE", help="Where the zip goes.")],
    language: Annotated[Language, typer.Option("--language", help="Of the readable story.")] = Language.EN,
    withhold: Annotated[
        list[str] | None,
        typer.Option(
            "--withhold",
            metavar="NUMBER[/FIELD]",
            help="An entry whose content stays sealed (7), or a field of it (7/reason); may be repeated.",
        ),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Made against a checkpoint that satisfies it.")
    ] = None,
    since: Annotated[
        list[Path] | None,
        typer.Option("--since", metavar="NOTE", help="A checkpoint that you kept, to grow from; may be repeated."),
    ] = None,
    purpose: PurposeOption = "audit",
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Save the whole file of a case: entries, their places in the signed log, what they commit to, a readable story.

    It proves itself without this service (`diwan ledger verify-bundle`, or the program in it). That you took it is on
    the ledger.
    """
    from diwan.cli.client import segment

    against: dict[str, Any] = {} if policy is None else {"policy": bytes_of(policy).decode(errors="replace")}
    if since:
        against["since"] = [bytes_of(each).decode(errors="replace") for each in since]
    with connect(role, AsRole.AUDITOR, purpose=purpose) as client:
        content = client.make(
            f"/v1/cases/{segment(case)}/bundles", {"language": language.value, "withhold": withhold or []}, against
        )
    write(to, content)
    say(f"wrote {to}")
    if output is Output.JSON:
        emit(output, {"file": str(to), "bytes": len(content)}, lambda width: record([]))


def verify_bundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle, as `diwan ledger bundle` makes it.")],
    policy: PolicyOption,
    kept: Annotated[
        list[Path] | None,
        typer.Option("--since", metavar="NOTE", help="A checkpoint that you kept: the log must have grown from it."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check a bundle with nothing but its file and your policy. Exits with 1 where it does not hold, and says why.

    It runs the one file that comes with each bundle and needs no Diwan, diwan/standalone/verify_bundle.py.
    """
    from diwan.standalone.verify_bundle import Failed, verify

    readable(file, policy, *(kept or ()))
    try:
        found = verify(file, policy, kept or ())
    except Failed as failed:
        say(f"It does not hold: {failed} ({failed.code})")
        raise typer.Exit(1) from None
    told = {"holds": True, **asdict(found)}
    shown = {**told, "closed_by": found.closed_by or "-", "grown_from": told["grown_from"] or "-"}
    emit(output, told, lambda width: record([(name.replace("_", " "), value) for name, value in shown.items()]))
