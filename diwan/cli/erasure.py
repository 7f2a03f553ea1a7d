"""`diwan erasure`: what of closed cases is to be erased, who asks and who approves; legal holds that stop it.

`destroyed` alone reads the database itself: it is for an operator whose vault was lost.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from diwan.cli.client import pages, segment
from diwan.cli.credentials import AsOption, AsRole, connect
from diwan.cli.lazy import command_group
from diwan.cli.output import Column, Output, OutputOption, emit, record, say, table
from diwan.cli.pictures import minute

if TYPE_CHECKING:
    from diwan.settings import Settings

Json = dict[str, Any]

_ERASURES = (
    Column("Case", "number", keep=True),
    Column("Data", "classes"),
    Column("Why", "ground", keep=True),
    Column("Legal basis", "legal_basis"),
    Column("Kept until", "kept_until", keep=True),
    Column("Asked by", "asked_by"),
    Column("Status", "status", keep=True),
    Column("Id", "id", keep=True),
)
_SCOPES = (
    Column("Keys of", "scope", keep=True),
    Column("Rule", "rule", keep=True),
    Column("From", "kept_from"),
    Column("Kept until", "kept_until"),
    Column("Begun", "started_at"),
    Column("Destroyed", "done_at"),
)
CaseArgument = Annotated[str, typer.Argument(metavar="CASE", help="Number or id.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Of the erasures, as the list has them.")]
Because = Annotated[str, typer.Option("--reason", help="Why; kept sealed on the case's ledger.")]


class GroundOption(StrEnum):
    REQUEST = "request"
    UNLAWFUL = "unlawful"
    ORDER = "order"


class ClassOption(StrEnum):
    DECISION = "decision"
    EVIDENCE = "evidence"
    EXCHANGE = "exchange"


def register(app: typer.Typer) -> None:
    group = command_group("See what is to be erased, ask for it, approve it; put cases under a legal hold.")
    for name, command in (
        *(("list", list_), ("ask", ask), ("approve", approve), ("decline", decline)),
        *(("hold", hold), ("lift", lift), ("destroyed", destroyed)),
    ):
        group.command(name)(command)
    app.add_typer(group, name="erasure")


def list_(
    status: Annotated[str, typer.Option("--status", help="asked, approved, declined, started or done.")] = "",
    ground: Annotated[
        str,
        typer.Option("--ground", help="retention (the schedule), person (all others), request, unlawful or order."),
    ] = "",
    without_case: Annotated[
        bool,
        typer.Option(
            "--without-case", help="What belongs to no case and goes by a rule; with --status done what is gone."
        ),
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most, oldest first.")] = 50,
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what is to be erased: what a procedure's retention is over for, and what people have asked for."""
    if without_case:
        _list_without_case(status, ground, limit, role, output)
        return
    with connect(role, AsRole.SUPERVISOR) as client:
        items = list(pages(client, "/v1/erasures", {"status": status, "ground": ground}, limit=limit))
    rows = [{**item, "classes": ", ".join(item["classes"])} for item in items]
    emit(output, items, lambda width: table(_ERASURES, rows, width=width) if rows else Text("Nothing is to be erased."))


def _list_without_case(status: str, ground: str, limit: int, role: AsRole | None, output: Output) -> None:
    if ground or status not in ("", "started", "done"):
        raise typer.BadParameter("--without-case goes with --status started or done alone: nobody asks for it.")
    with connect(role, AsRole.SUPERVISOR) as client:
        asked = {"done": "true" if status == "done" else "false"}
        items = list(pages(client, "/v1/erasures/without-case", asked, limit=limit))
    rows = [{**item, **{name: minute(item[name]) for name in ("started_at", "done_at")}} for item in items]
    emit(output, items, lambda width: table(_SCOPES, rows, width=width) if rows else Text("Nothing is to be erased."))


def ask(
    case: CaseArgument,
    ground: Annotated[GroundOption, typer.Option("--ground", help="Why: the person's request, unlawful, an order.")],
    basis: Annotated[str, typer.Option("--basis", help="The text of law; name no person, it stands in the clear.")],
    reason: Because,
    classes: Annotated[
        list[ClassOption] | None, typer.Option("--class", help="Only this class of data; repeatable. Else all.")
    ] = None,
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask for a closed case's data to be erased. Another person approves it.

    For example: diwan erasure ask DW-2026-000142 --ground request --basis "Act No. 00-26, Article 30" --reason "…"
    """
    body: Json = {"ground": ground.value, "legal_basis": basis, "reason": reason}
    if classes:
        body["classes"] = [each.value for each in classes]
    with connect(role, AsRole.SUPERVISOR) as client:
        _shown([client.act(f"/v1/cases/{segment(case)}/erasures", body)], output)


def approve(ids: Ids, role: AsOption = None, output: OutputOption = Output.TABLE) -> None:
    """Approve erasures that somebody else, or the schedule, has asked for: the keys are destroyed, for good."""
    with connect(role, AsRole.AUTHORITY) as client:
        _shown([client.act(f"/v1/erasures/{segment(each)}/approval", {}) for each in ids], output)


def decline(ids: Ids, reason: Because, role: AsOption = None, output: OutputOption = Output.TABLE) -> None:
    """Decline erasures. What retention proposed comes again after 90 days; what must stay longer needs a hold."""
    with connect(role, AsRole.AUTHORITY) as client:
        _shown([client.act(f"/v1/erasures/{segment(each)}/refusal", {"reason": reason}) for each in ids], output)


def hold(case: CaseArgument, reason: Because, role: AsOption = None, output: OutputOption = Output.TABLE) -> None:
    """Put a legal hold on a case: nothing of it is erased until it is lifted."""
    with connect(role, AsRole.AUTHORITY) as client:
        made = client.act(f"/v1/cases/{segment(case)}/holds", {"reason": reason})
    emit(output, made, lambda _: record(_hold(made)))


def lift(
    case: CaseArgument,
    reason: Because,
    hold: Annotated[str, typer.Option("--hold", help="Id of the hold. Without it: the one that is on the case.")] = "",
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Lift a legal hold. What had been approved before it has to be approved anew."""
    with connect(role, AsRole.AUTHORITY) as client:
        if not hold:
            there = client.get(f"/v1/cases/{segment(case)}")["holds"]
            standing = [each["id"] for each in there if each["lifted_at"] is None]
            if len(standing) != 1:
                raise typer.BadParameter(f"{len(standing)} holds are on the case: name one with --hold.")
            (hold,) = standing
        made = client.act(f"/v1/cases/{segment(case)}/holds/{segment(hold)}/lifting", {"reason": reason})
    emit(output, made, lambda _: record(_hold(made)))


def destroyed(
    to: Annotated[Path, typer.Option("--to", "-o", metavar="FILE", help="The new file: lines of JSON.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """List from the ledger which keys are destroyed, of every ministry: for `diwan vault replay`.

    Needs DIWAN_DATABASE_URL_WORKER (a running embedded stack gives it), and no vault.
    """
    from diwan import settings

    lines = asyncio.run(_list_destroyed(settings.load(), to))
    say(f"wrote {to}; on the vault's machine: diwan vault replay {to.name}")
    data = {"file": str(to), "lines": lines}
    emit(output, data, lambda _: record(list(data.items())))


async def _list_destroyed(chosen: Settings, to: Path) -> int:
    """One snapshot for each ministry. The file is there only when it is whole: a short list would revive keys."""
    from diwan.cli.connections import database
    from diwan.store.destroyed_keys import destroyed_keys
    from diwan.store.tenants import tenants
    from diwan.vault import secretfile

    db = database(chosen, "worker")
    lines = 0
    try:
        async with db.transaction(None, snapshot=True) as conn:
            there = await tenants(conn)
        with secretfile.being_made(to) as temporary, temporary.open("w", encoding="utf-8") as file:
            for tenant in there:
                async with db.transaction(tenant, snapshot=True) as conn:
                    async for each in destroyed_keys(conn, tenant):
                        file.write(json.dumps(asdict(each) | {"at": each.at.isoformat()}) + "\n")
                        lines += 1
            file.flush()
            os.fsync(file.fileno())
    finally:
        await db.dispose()
    return lines


def _shown(items: list[Json], output: Output) -> None:
    rows = [{**item, "classes": ", ".join(item["classes"])} for item in items]
    emit(output, items, lambda width: table(_ERASURES, rows, width=width))


def _hold(view: Json) -> list[tuple[str, object]]:
    return [
        ("Hold", view["id"]),
        ("Put on by", view["placed_by"]),
        ("On", minute(view["placed_at"])),
        ("Lifted by", view["lifted_by"] or "nobody"),
    ]
