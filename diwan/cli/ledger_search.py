"""`diwan ledger search`: entries by what they say. A name or an identity number goes in a body, never in an address."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diwan.cli.credentials import AsOption, AsRole, PurposeOption, connect
from diwan.cli.output import Column, Output, OutputOption, emit, say, table
from diwan.domain.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diwan.cli.client import Client

Json = dict[str, Any]

_PAGE = 200
_COLUMNS = (
    Column("At", "at", keep=True),
    Column("What", "kind", keep=True),
    Column("Who", "who"),
    Column("Entry", "entry", keep=True),
    Column("Log", "log", keep=True),
    Column("Detail", "detail"),
)


def search(
    case: Annotated[str, typer.Option("--case", help="About this case: number or id.")] = "",
    person: Annotated[str, typer.Option("--person", help="Of cases with a party of this name.")] = "",
    identity: Annotated[str, typer.Option("--identity", help="Of cases with a party of this identity number.")] = "",
    actor: Annotated[str, typer.Option("--actor", help="Who acted: a subject.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="Such as task:act:recorded.")] = "",
    tool: Annotated[str, typer.Option("--tool", help="Calls of this tool.")] = "",
    model: Annotated[str, typer.Option("--model", help="Answers of this model.")] = "",
    procedure: Annotated[str, typer.Option("--procedure", help="Under this procedure.")] = "",
    version: Annotated[str, typer.Option("--version", help="Under this version of --procedure.")] = "",
    overridden: Annotated[
        bool, typer.Option("--overridden", help="Only where a person decided otherwise than was proposed.")
    ] = False,
    since: Annotated[str, typer.Option("--since", metavar="INSTANT", help="This instant or later.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="INSTANT", help="Before this instant.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most, newest first.")] = 50,
    purpose: PurposeOption = "audit",
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Search the ledger's entries; all that is said has to hold. The newest come first.

    An INSTANT is a day (2026-11-27) or a time of a day (2026-11-27T09:30:00Z), in UTC where it names no zone. That you
    searched, and for what, is on the ledger.
    """
    query = {
        **{"case": case, "name": person, "identity_number": identity, "actor": actor, "kind": kind, "tool": tool},
        **{
            "model": model,
            "procedure": procedure,
            "version": version,
            "since": instant(since),
            "until": instant(until),
        },
    }
    asked: Json = {name: value for name, value in query.items() if value} | ({"overridden": True} if overridden else {})
    with connect(role, AsRole.AUDITOR, purpose=purpose) as client:
        pages = list(_pages(client, asked, limit))
    items = [each for page in pages for each in page["items"]][:limit]
    emit(output, items, lambda width: table(_COLUMNS, [_row(each) for each in items], width=width))
    if pages[0]["waiting"]:
        say(f"{pages[0]['waiting']} entries have no place in the log yet and were not searched")


def _pages(client: Client, asked: Json, limit: int) -> Iterator[Json]:
    cursor, left = "", limit
    while left > 0:
        page = client.ask("/v1/entries/search", asked | {"limit": min(left, _PAGE), "cursor": cursor})
        yield page
        cursor, left = str(page.get("next") or ""), left - len(page["items"])
        if not cursor:
            return


def _row(entry: Json) -> Json:
    header = entry["header"]
    return {
        "at": header["at"],
        "kind": header["kind"],
        "who": f"{header['actor']['kind']}: {header['actor']['subject']}",
        "entry": f"{entry['chain']}/{entry['seq']}",
        "log": f"{entry['log']}/{entry['index']}",
        "detail": header.get("detail", {}),
    }


def instant(given: str) -> str:
    """A day or an instant as the service wants it; empty stays empty. Raises `InvalidInput`."""
    if not given:
        return ""
    try:
        read = datetime.fromisoformat(given)
    except ValueError:
        raise InvalidInput(
            "cli.bad_instant", f"{given!r} is no instant.", "Write 2026-11-27 or 2026-11-27T09:30:00Z."
        ) from None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).isoformat()
