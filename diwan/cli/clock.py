"""`diwan clock`: whether legal dates fall or stand still, and a person's word that the service's time is right."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from diwan.cli.credentials import AsOption, AsRole, connect
from diwan.cli.lazy import command_group
from diwan.cli.output import Output, OutputOption, emit, record, show

Json = dict[str, Any]

_WHY = {
    "forward": "the clock went ahead",
    "backward": "the clock fell behind",
    "behind": "the clock is behind what was seen before, here or on another machine",
    "gap": "nobody watched for long, and the machine was started anew meanwhile",
}


class FindingOption(StrEnum):
    RIGHT = "right"
    CORRECTED = "corrected"


def register(app: typer.Typer) -> None:
    group = command_group("See whether legal dates stand still because a clock jumped, and let them fall again.")
    group.command("show")(show_)
    group.command("confirm")(confirm)
    app.add_typer(group, name="clock")


def show_(role: AsOption = None, output: OutputOption = Output.TABLE) -> None:
    """Show the service's time, and whether legal dates stand still."""
    with connect(role, AsRole.SUPERVISOR) as client:
        view = client.get("/v1/clock")
    emit(output, view, lambda width: record(_fields(view)))


def confirm(
    finding: Annotated[
        FindingOption,
        typer.Option("--finding", help="The service's time is right now, or was corrected to where it had been."),
    ],
    reason: Annotated[str, typer.Option("--reason", help="What you compared it with; kept on the ledger.")],
    since: Annotated[
        str, typer.Option("--since", help="The freeze that you saw. Without it: the one that is fetched and shown now.")
    ] = "",
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Confirm that the service's time is right: legal dates fall again, those that were due meanwhile at once.

    Compare it first with a time that you trust. For example:
    diwan clock confirm --finding corrected --reason "Compared with the telephone's time."
    """
    with connect(role, AsRole.SUPERVISOR) as client:
        if not since:
            view = client.get("/v1/clock")
            show(lambda width: record(_fields(view)), output=output)
            since = str(view.get("since") or view.get("now"))
        body = {"since": since, "finding": finding.value, "reason": reason}
        after = client.act("/v1/clock/confirmation", body)
    emit(output, after, lambda width: record(_fields(after)))


def _fields(view: Json) -> list[tuple[str, object]]:
    """What a person compares and decides on."""
    fields: list[tuple[str, object]] = [
        ("Service's time", view.get("now")),
        ("Legal dates", "stand still" if view.get("frozen") else "fall"),
    ]
    if view.get("frozen"):
        fields += [
            ("Since", view.get("since")),
            ("Because", _WHY.get(str(view.get("why")), view.get("why"))),
            ("Off by (s)", view.get("off_s")),
            ("They stand at", view.get("stands_at")),
        ]
    return [*fields, ("Cases to look at", view.get("cases"))]
