"""`diwan case`: find cases, read one with its story, save its letters, send a model call of it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from diwan.cli import pictures, way_picture
from diwan.cli.client import Client, pages, segment
from diwan.cli.credentials import AsOption, AsRole, PurposeOption, connect
from diwan.cli.following import read_case
from diwan.cli.lazy import command_group
from diwan.cli.ledger_search import instant
from diwan.cli.output import Column, Output, OutputOption, emit, say, table
from diwan.cli.rerun import rerun
from diwan.domain.errors import Final

Json = dict[str, Any]

_DAY = len("20261127")  # shorter numbers are those of entries
_RECORDED = (
    Column("Known of", "what", keep=True),
    Column("Which", "id"),
    Column("Since entry", "entry", right=True),
    Column("Recorded at", "at", keep=True),
)

LimitOption = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most, newest first.")]


def register(app: typer.Typer) -> None:
    group = command_group("List cases, show one with its story, save its letters, run a model call again.")
    group.command("list")(list_)
    group.command("show")(show)
    group.command("explain")(explain)
    group.command("rerun")(rerun)
    app.add_typer(group, name="case")


def list_(
    status: Annotated[str, typer.Option("--status", help="open, suspended or closed.")] = "",
    procedure: Annotated[str, typer.Option("--procedure", help="Only cases of this procedure.")] = "",
    limit: LimitOption = 50,
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List cases."""
    with connect(role, AsRole.CLERK) as client:
        items = list(pages(client, "/v1/cases", {"status": status, "procedure": procedure}, limit=limit))
    emit(output, items, lambda width: pictures.cases(items, width))


def show(
    case: Annotated[str, typer.Argument(metavar="CASE", help="Number or id.")],
    story: Annotated[bool, typer.Option("--story", help="Also every entry of the ledger about it.")] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Also its way: steps, model calls, acts, deliveries, with times.")
    ] = False,
    purpose: PurposeOption = "",
    as_of: Annotated[
        str,
        typer.Option(
            "--as-of", metavar="INSTANT", help="As it was known then: a day, a time of a day, or an entry's number."
        ),
    ] = "",
    letters: Annotated[Path | None, typer.Option("--letters", metavar="DIR", help="Save its letters there.")] = None,
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a case: where it stands, documents, facts and where each comes from, what was proposed, decided and sent."""
    with connect(role, AsRole.CLERK, purpose=purpose) as client:
        view = read_past(client, case, as_of) if as_of else read_case(client, case)
        if story:
            view["story"] = list(pages(client, f"/v1/cases/{segment(case)}/story", {}, limit=10_000))
        if trace:
            view["trace"] = client.get(f"/v1/cases/{segment(case)}/trace")
        saved = save_letters(client, view, letters) if letters is not None else []
        if letters is not None:
            view["saved"] = [str(path) for path in saved]
    emit(output, view, lambda width: _picture(view, width))
    if output is Output.TABLE:
        for path in saved:
            say(f"saved {path}")


def explain(
    case: Annotated[str, typer.Argument(metavar="CASE", help="Number or id.")],
    to: Annotated[Path, typer.Option("--to", "-o", metavar="FILE", help="Where the PDF goes.")],
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Save a letter that explains to the applicant how the decision came about, in the applicant's language.

    What data were used, which rules decided, what software did and what people did. That it was given is on the ledger.
    """
    with connect(role, AsRole.CLERK) as client:
        content = client.make(f"/v1/cases/{segment(case)}/explanations", {})
    write(to, content)
    say(f"saved {to}")
    if output is Output.JSON:
        emit(output, {"file": str(to), "bytes": len(content)}, lambda width: Group())


def _picture(view: Json, width: int) -> RenderableType:
    parts = [pictures.case(view, width)]
    if "known_at" in view:
        known = Text(f"As known at {view['known_at']}, after entry {view['version']}", style="bold")
        parts = [known, *parts, table(_RECORDED, cast("list[Json]", view["recorded"]), width=width)]
    if "story" in view:
        parts.append(pictures.story(cast("list[Json]", view["story"]), width))
    if "trace" in view:
        parts.append(way_picture.way(view["trace"]))
    return Group(*parts)


def read_past(client: Client, case: str, as_of: str) -> Json:
    """The case as it was known at an instant, or when an entry of this number was written."""
    asked = {"entry": as_of} if as_of.isdecimal() and len(as_of) < _DAY else {"as_of": instant(as_of)}
    return client.get(f"/v1/cases/{segment(case)}/past", asked)


def save_letters(client: Client, view: Json, folder: Path) -> list[Path]:
    """Each letter as a PDF, named by its place and kind: `1-receipt.pdf`. Raises Final when it cannot be written."""
    saved: list[Path] = []
    for place, letter in enumerate(cast("list[Json]", view.get("letters") or []), start=1):
        path = folder / f"{place}-{letter['kind']}.pdf"
        write(path, client.download(str(letter["address"])))
        saved.append(path)
    return saved


def write(path: Path, content: bytes) -> None:
    """Raises Final when it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise Final(
            "cli.cannot_write", f"{path} cannot be written: {error.strerror}.", "Choose another folder."
        ) from None
