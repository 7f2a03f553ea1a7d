"""`diwan doctor` about cases: those that nobody moves, and `--repair`, which brings back what Temporal lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import typer

from diwan.cli.connections import TemporalLink, database
from diwan.cli.output import Column, Output, emit, say, table
from diwan.cli.processes import clock
from diwan.domain.errors import DiwanError, Unavailable

if TYPE_CHECKING:
    from diwan.embedded.doctor import Finding
    from diwan.recovery import Repair
    from diwan.settings import Settings
    from diwan.store.database import Database
    from diwan.store.stuck import Stuck

_SHOWN = 20


def findings(settings: Settings) -> list[Finding]:
    """A finding for each stuck case; none at all where the settings name no database of the relay's."""
    return asyncio.run(_findings(settings)) if settings.database_url_relay else []


async def _findings(settings: Settings) -> list[Finding]:
    from diwan.embedded.doctor import Finding, State
    from diwan.store.clock_watch import frozen_ministries
    from diwan.store.stuck import counts, stuck_cases

    try:
        async with _relays(settings) as db, db.transaction(None) as conn:
            stuck = await stuck_cases(conn, clock(), limit=_SHOWN)
            number = sum((await counts(conn, clock())).values())
            frozen = await frozen_ministries(conn)
    except DiwanError as error:
        return [Finding("cases", State.WRONG, error.message, error.remedy)]
    dates = Finding("legal dates", State.OK, "fall")
    if frozen:
        said = f"stand still in {frozen} ministries: a clock jumped"
        dates = Finding("legal dates", State.WRONG, said, "Compare the time, then type: diwan clock confirm")
    if not stuck:
        return [Finding("cases", State.OK, "none is stuck"), dates]
    found = [dates]
    found += [Finding(f"case {each.number}", State.WRONG, _told(each), _REMEDIES[each.why.value]) for each in stuck]
    if number > len(stuck):
        found.append(Finding("cases", State.WRONG, f"{number - len(stuck)} more are stuck"))
    return found


def _told(stuck: Stuck) -> str:
    code = f" ({stuck.blocked})" if stuck.blocked else ""
    return f"{stuck.tenant}, step {stuck.step}: {_WHY[stuck.why.value]}{code} since {stuck.since:%Y-%m-%d %H:%M}Z"


_WHY = {
    "blocked": "its step cannot be done",
    "unconsumed": "an event is not taken",
    "overdue": "a date is over and nothing happened",
    "silent": "nothing is recorded of the work on it",
    "no_task": "it awaits a person, and nobody is asked",
    "no_date": "it waits for an event, and no date ends that",
}
_BACK = "Look at the worker's log; type: diwan doctor --repair"
_REMEDIES = {
    "blocked": "See its code in the worker's log and mend that; it is tried again every five minutes.",
    "unconsumed": _BACK,
    "overdue": _BACK,
    "silent": _BACK,
    "no_task": "Look at its story: diwan case show --story",
    "no_date": "Look at its story: diwan case show --story",
}


def repair(settings: Settings, output: Output) -> None:
    """Bring back every open case that has no workflow, or one that cannot go on; show all. Exit code 75: try again."""
    done = asyncio.run(_repair(settings))
    rows: list[dict[str, Any]] = [
        {
            "case": each.standing.number,
            "id": each.standing.case,
            "tenant": each.standing.tenant,
            "step": each.standing.step,
            "visit": each.standing.visit,
            "waits_for": each.waits_for,
            "blocked": each.standing.blocked,
            "found": each.found.value,
            "done": each.done,
        }
        for each in done
    ]
    columns = (
        Column("case", "case"),
        Column("tenant", "tenant"),
        Column("step", "step"),
        Column("waits for", "waits_for"),
        Column("blocked", "blocked"),
        Column("found", "found"),
        Column("done", "done"),
    )
    emit(output, rows, lambda width: table(columns, rows, width=width))
    say(f"{len(rows)} open cases, {sum(bool(each.done) for each in done)} of them brought back")
    helpless = [each for each in done if not each.done and each.found.value != "running"]
    if helpless:
        say(f"{len(helpless)} have a workflow that no worker takes: start a worker (of the current version)")
    if helpless or any(each.standing.blocked for each in done):
        raise typer.Exit(1)


async def _repair(settings: Settings) -> list[Repair]:
    from diwan.recovery import repair as bring_back

    try:
        client = await TemporalLink(settings).connect()
    except RuntimeError:
        raise Unavailable(
            "temporal.unavailable", f"Temporal does not answer at {settings.temporal_address}.", "Start it."
        ) from None
    async with _relays(settings) as db:
        return await bring_back(db, client, clock)


@asynccontextmanager
async def _relays(settings: Settings) -> AsyncGenerator[Database]:
    db = database(settings, "relay")
    try:
        yield db
    finally:
        await db.dispose()
