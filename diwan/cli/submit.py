"""`diwan submit`: a folder becomes one opening event."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Group, RenderableType

from diwan.cli.client import Client
from diwan.cli.credentials import AsOption, AsRole, connect
from diwan.cli.dossier import opening_event, read_dossier
from diwan.cli.following import follow, needs_a_person
from diwan.cli.output import Column, Output, OutputOption, emit, record, say, table
from diwan.cli.pictures import section

DEFAULT_SOURCE = "urn:diwan:counter"
Json = dict[str, Any]

SourceOption = Annotated[
    str, typer.Option("--source", envvar="DIWAN_SOURCE", help="CloudEvents source; bound to the credential.")
]
_DOCUMENTS = (
    Column("Document", "name"),
    Column("Status", "status"),
    Column("Reason", "reason"),
    Column("What to do", "remedy"),
)


def register(app: typer.Typer) -> None:
    app.command("submit")(submit)


def submit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Has application.json and, if any, documents/.")],
    reference: Annotated[
        str, typer.Option("--reference", help="The sender's own number. Derived from the content if none is given.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the case until it ends or needs a person.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds that --wait waits at most.")] = 120,
    source: SourceOption = DEFAULT_SOURCE,
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send an application: a folder of application.json and documents/.

    The same folder sent again is the same event: it makes one case, and gives the same answer.
    """
    dossier = read_dossier(folder)
    sent = opening_event(dossier, source=source, reference=reference)
    with connect(role, AsRole.INTAKE) as client:
        accepted = client.send_event(sent.event, sent.parts)
        names = [file.name for file in dossier.files]
        if wait and accepted.get("case"):
            view = _wait(client, str(accepted["case"]), timeout)
            accepted |= {"case_status": view["status"], "step": view["step"], "result": view["result"]}
    emit(output, accepted, lambda width: picture(accepted, names, width))


def _wait(client: Client, case: str, timeout: float) -> Json:
    return follow(
        client,
        case,
        needs_a_person,
        seconds=timeout,
        moved=lambda view: say(f"{view['number']}  {view['status']}  {view['step']}"),
    )


def picture(accepted: Json, names: list[str], width: int) -> RenderableType:
    """What the sender gets back: number, receipt, and which documents were not taken."""
    documents = [_named(document, names) for document in cast("list[Json]", accepted.get("documents") or [])]
    refused = [document for document in documents if document.get("status") == "quarantined"]
    fields: list[tuple[str, object]] = [
        ("number", accepted.get("number")),
        ("case", accepted.get("case") or "none found: a clerk will look for it"),
        ("receipt", accepted.get("receipt")),
    ]
    if documents:
        fields.append(("documents", f"{len(documents) - len(refused)} of {len(documents)} taken"))
    fields += [(name, accepted[name]) for name in ("case_status", "step", "result") if name in accepted]
    head = record(fields)
    return Group(head, *section("In quarantine", table(_DOCUMENTS, refused, width=width))) if refused else head


def _named(document: Json, names: list[str]) -> Json:
    index = document.get("index")
    return document | {"name": names[index] if isinstance(index, int) and index < len(names) else ""}
