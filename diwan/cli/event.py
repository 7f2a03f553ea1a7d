"""`diwan event send`: a CloudEvent from a file, or a follow-up built from options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from diwan.cli.credentials import AsOption, AsRole, connect
from diwan.cli.dossier import File, Outgoing, follow_up_event, parse_object, read_file, read_json
from diwan.cli.lazy import command_group
from diwan.cli.output import Output, OutputOption, emit
from diwan.cli.submit import DEFAULT_SOURCE, SourceOption, picture
from diwan.domain.errors import InvalidInput

Json = dict[str, Any]


def register(app: typer.Typer) -> None:
    group = command_group("Send events about a case.")
    group.callback()(_about)
    group.command("send")(send)
    app.add_typer(group, name="event")


def _about() -> None:
    """Send a CloudEvent, or build and send a follow-up."""


def send(
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="A structured CloudEvent; - reads it from stdin.")
    ] = "",
    kind: Annotated[str, typer.Option("--type", help="Build an event of this type, e.g. diwan.pieces.supplied.")] = "",
    subject: Annotated[str, typer.Option("--subject", help="Number or id of the case that it is about.")] = "",
    data: Annotated[str, typer.Option("--data", help="Its data as JSON, or @FILE.")] = "",
    documents: Annotated[
        list[str] | None, typer.Option("--document", metavar="[PIECE=]FILE", help="A document to attach; repeatable.")
    ] = None,
    event_id: Annotated[str, typer.Option("--id", help="Its id. Derived from the content if none is given.")] = "",
    source: SourceOption = DEFAULT_SOURCE,
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send one event: a file as it is, or a follow-up made of --type, --subject, --data and --document.

    For example: diwan event send --type diwan.application.withdrawn --subject DW-2026-000001
    """
    if bool(file) == bool(kind):
        raise InvalidInput(
            "cli.event", "Give either a FILE with an event, or --type to build one.", "See `diwan event send --help`."
        )
    if file and (subject or data or documents or event_id):
        raise InvalidInput("cli.event", "An event from a file is sent as it is.", "Leave the other options out.")
    sent = Outgoing(_read(file), {}) if file else _build(kind, subject, data, documents or [], event_id, source)
    with connect(role, AsRole.INTAKE) as client:
        accepted = client.send_event(sent.event, sent.parts)
    names = [str(document.get("name", "")) for document in _documents(sent.event)]
    emit(output, accepted, lambda width: picture(accepted, names, width))


def _read(file: str) -> Json:
    if file == "-":
        return parse_object(sys.stdin.read(), "standard input")
    return read_json(Path(file), "such event file")


def _build(kind: str, subject: str, data: str, documents: list[str], event_id: str, source: str) -> Outgoing:
    body = read_json(Path(data[1:]), "such data file") if data.startswith("@") else parse_object(data or "{}", "--data")
    sent = follow_up_event(kind, subject, body, [_attached(text) for text in documents], source=source)
    return Outgoing(sent.event | {"id": event_id}, sent.parts) if event_id else sent


def _attached(text: str) -> File:
    """`deed=scan.pdf` is a file that claims to be the piece `deed`; a path may itself have a `=`."""
    piece, sign, path = text.partition("=")
    return read_file(Path(path), piece) if sign and not Path(text).exists() else read_file(Path(text), "")


def _documents(event: Json) -> list[Json]:
    data: object = event.get("data")
    listed: object = cast("Json", data).get("documents") if isinstance(data, dict) else None
    return cast("list[Json]", listed) if isinstance(listed, list) else []
