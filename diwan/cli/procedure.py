"""`diwan procedure`: an analyst's commands. Files are worked on here, without a service; publishing asks the service.

What draws in the procedure language (and with it pydantic and CEL) is imported only by the commands that need it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from diwan.cli.client import pages
from diwan.cli.credentials import AsOption, AsRole, connect
from diwan.cli.lazy import command_group
from diwan.cli.output import Column, Output, OutputOption, emit, record, table
from diwan.cli.pictures import minute
from diwan.domain.errors import InvalidInput

Json = dict[str, Any]

FileArgument = Annotated[str, typer.Argument(metavar="FILE|NAME", help="A procedure file, or a shipped procedure.")]
_FINDINGS = (
    Column("Line", "line", right=True),
    Column("Level", "level"),
    Column("Place", "place"),
    Column("What", "message"),
    Column("What to do", "remedy"),
)
_CHANGES = (
    Column("Change", "kind"),
    Column("Place", "path"),
    Column("Before", "before"),
    Column("After", "after"),
    Column("For running cases", "affects_running"),
)
_OUTLINE = (Column("Section", "section"), Column("Name", "name"), Column("Text", "text"), Column("Detail", "detail"))
_PUBLISHED = (
    Column("Name", "name"),
    Column("Version", "version"),
    Column("Published", "published_at"),
    Column("By", "published_by"),
    Column("Hash", "hash"),
)
_STEPS = (
    Column("On", "on"),
    Column("Step", "step"),
    Column("Visit", "visit", right=True),
    Column("Kind", "kind"),
    Column("Ends", "outcome"),
    Column("Rules say", "says"),
    Column("Due", "due"),
    Column("Reminders", "reminders"),
)


class LetterLanguage(StrEnum):
    """As in diwan.domain.text.Language, which draws in pydantic."""

    AR = "ar"
    FR = "fr"
    EN = "en"


def register(app: typer.Typer) -> None:
    group = command_group("Lint, compare, simulate and publish procedures.")
    for name, command in (
        ("list", list_),
        ("lint", lint),
        ("show", show),
        ("schema", schema),
        ("diff", diff),
        ("simulate", simulate),
        ("publish", publish),
        ("golden", golden),
    ):
        group.command(name)(command)
    app.add_typer(group, name="procedure")


def list_(role: AsOption = None, output: OutputOption = Output.TABLE) -> None:
    """List the procedures that the service has published."""
    with connect(role, AsRole.ANALYST) as client:
        items = list(pages(client, "/v1/procedures", {}, limit=10_000))
    rows = [{**item, "published_at": minute(item.get("published_at"))} for item in items]
    emit(output, items, lambda width: table(_PUBLISHED, rows, width=width) if rows else Text("None is published."))


def lint(
    file: FileArgument,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say what is wrong, or doubtful, in a procedure. Exits with 1 if it could not be published."""
    from diwan.cli import procedure_files

    found = procedure_files.lint(file)
    emit(output, found, lambda width: table(_FINDINGS, found, width=width) if found else Text("Nothing to remark."))
    if any(strict or finding["level"] == "error" for finding in found):
        raise typer.Exit(1)


def show(
    file: FileArgument,
    language: Annotated[LetterLanguage, typer.Option("--language", help="Language of its texts.")] = LetterLanguage.EN,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a procedure in words: what is asked, weighed and decided, by whom and by when."""
    from diwan.cli import procedure_files

    lines = procedure_files.outline(file, language.value)
    emit(output, lines, lambda width: table(_OUTLINE, lines, width=width))


def schema(
    file: FileArgument,
    output: Annotated[Output, typer.Option("--output", help="A table is a short view of the form.")] = Output.JSON,
) -> None:
    """Print the JSON Schema of `answers` in an application.json."""
    from diwan.cli import procedure_files

    found = procedure_files.answers_schema(file)
    emit(output, found, lambda width: _form(found, width))


def golden(
    folder: Annotated[Path, typer.Argument(help="Folder of dossiers, each with its expected.json.", metavar="FOLDER")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the digest of a golden set: what `models.golden_set` of a procedure and `passed` of a model name."""
    from diwan.cli import procedure_files

    found = procedure_files.golden(folder)
    emit(output, found, lambda width: record(list(found.items())))


def diff(old: FileArgument, new: FileArgument, output: OutputOption = Output.TABLE) -> None:
    """Say what changed between two procedures, in their own terms."""
    from diwan.cli import procedure_files

    changes = procedure_files.diff(old, new)
    emit(output, changes, lambda width: table(_CHANGES, changes, width=width) if changes else Text("No difference."))


def simulate(
    file: FileArgument,
    dossier: Annotated[
        Path | None, typer.Option("--dossier", metavar="DIR", help="Take declared facts and pieces from this folder.")
    ] = None,
    facts: Annotated[
        list[str] | None, typer.Option("--fact", metavar="NAME=VALUE", help="Hold this to be shown; repeatable.")
    ] = None,
    pieces: Annotated[
        list[str] | None, typer.Option("--piece", metavar="NAME", help="This piece was handed in; repeatable.")
    ] = None,
    outcomes: Annotated[
        list[str] | None,
        typer.Option("--outcome", metavar="STEP=OUTCOME", help="How a step ends; again for its next visit."),
    ] = None,
    on: Annotated[
        datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="Day on which the case opens.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Play a case through on paper: its steps, its dates, its end. Nothing is stored, no agent reads anything.

    For example: diwan procedure simulate direct-housing-aid --fact price=280000 --outcome review=returned
    """
    from diwan.cli import procedure_files

    story = procedure_files.simulate(
        file,
        dossier=dossier,
        facts=_pairs(facts, "--fact", "price=280000"),
        pieces=pieces or [],
        outcomes=_pairs(outcomes, "--outcome", "review=returned"),
        now=on.replace(hour=9, tzinfo=UTC) if on else datetime.now(UTC),
    )
    emit(output, story, lambda width: _story(story, width))


def publish(
    file: FileArgument,
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Publish a procedure: new cases are opened under it, running ones keep theirs."""
    from diwan.cli import procedure_files

    text = procedure_files.text_of(file)
    procedure_files.check(text)
    with connect(role, AsRole.ANALYST) as client:
        made = client.publish(text)
    shown = {name: value for name, value in made.items() if name != "body"}
    emit(output, made, lambda width: record(list(shown.items())))


def _pairs(texts: list[str] | None, option: str, example: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for text in texts or []:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise InvalidInput("cli.pair", f"{option} takes NAME=VALUE.", f"For example {option} {example}.")
        found.append((name.strip(), value))
    return found


def _form(schema: Json, width: int) -> RenderableType:
    columns = (
        Column("Answer", "name"),
        Column("Type", "type"),
        Column("Required", "required"),
        Column("Label", "label"),
    )
    rows = [
        {
            "name": name,
            "type": field.get("format") or field["type"],
            "required": name in schema["required"],
            "label": field["title"],
        }
        for name, field in cast("dict[str, Json]", schema["properties"]).items()
    ]
    return table(columns, rows, width=width)


def _story(story: list[Json], width: int) -> RenderableType:
    rows = [{**step, "says": _says(step["assessment"]), "due": step["due"]} for step in story]
    end = story[-1]
    result = end["result"] or "no result"
    kept = ", ".join(f"{name} {day}" for name, day in end["kept_until"].items())
    return Group(
        table(_STEPS, rows, width=width),
        Text(f"Ends at {end['step']} on {end['on']}: {result}.", style="bold"),
        Text(f"Kept until: {kept}, then proposed to be erased."),
    )


def _says(assessment: Json) -> str:
    if assessment["result"] is not None:
        amount = assessment["amount"]
        return f"{assessment['result']}{f' {amount}' if amount is not None else ''}"
    conflicts = [conflict["fact"] for conflict in assessment["conflicts"]]
    points = (("missing", assessment["missing_pieces"]), ("unknown", assessment["unknown"]), ("conflict", conflicts))
    return "; ".join(["undetermined", *(f"{name} {', '.join(found)}" for name, found in points if found)])
