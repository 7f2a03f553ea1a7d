"""`diwan case rerun`: the model calls of a case, and one of them sent again, to compare what is answered."""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from diwan.cli.client import Client, segment
from diwan.cli.credentials import AsOption, AsRole, connect
from diwan.cli.following import pauses
from diwan.cli.output import Column, Output, OutputOption, emit, record, say, table, working
from diwan.cli.pictures import minute
from diwan.domain.errors import Retry

Json = dict[str, Any]

_CALLS = (
    Column("Call", "number", right=True),
    Column("At", "at", keep=True),
    Column("Step", "place", keep=True),
    Column("Used", "used"),
    Column("Model", "model"),
    Column("Weights", "weights"),
    Column("Engine", "engine"),
    Column("Seed", "seed"),
    Column("Can be run again", "again"),
)
_SIDES = (
    Column("", "name", keep=True),
    Column("Then", "then"),
    Column("Now", "now"),
    Column("Same", "same", keep=True),
)
_WHY_NOT = {
    "no_hosts": "no: no host serves",
    "no_such_host": "no: no host with the same digests",
    "erased": "no: erased",
    "broken": "no: its answer did not come to its end",
}
_UNKNOWN = "not recorded"
_SHORT = 12  # of a digest in a table; JSON has all of it


def rerun(
    case: Annotated[str, typer.Argument(metavar="CASE", help="Number or id.")],
    call: Annotated[
        int | None, typer.Option("--call", metavar="N", min=1, help="Send this call again. Without it: list them.")
    ] = None,
    key: Annotated[str, typer.Option("--key", help="Idempotency-Key, to see again what came of a rerun.")] = "",
    wait: Annotated[int, typer.Option("--wait", min=0, max=3600, help="Seconds to wait for it.")] = 900,
    role: AsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send a recorded model call again to a host with the same digests; say whether the answer is the same.

    It goes to an engine with the recorded weights, tokenizer and version, in batch-invariant mode where there is one,
    and waits there behind all other calls. Exit code 1 where the answers differ. Who asked, and what came of it, is on
    the case's ledger; the case itself does not change.
    """
    with connect(role, AsRole.AUDITOR) as client:
        if call is None:
            items = client.get(f"/v1/cases/{segment(case)}/calls")["items"]
            emit(output, items, lambda width: calls(items, width))
            return
        key = key or str(uuid.uuid4())
        with working(f"Sending call {call} again"):
            view = _ended(client, case, call, key, seconds=wait)
    emit(output, view, lambda width: picture(view, width))
    if view["status"] == "not_run":
        say(f"It was not run: {view['reason']}. {_remedy(view['reason'])}")
    if view["status"] != "identical":
        raise typer.Exit(1)


def _ended(client: Client, case: str, call: int, key: str, *, seconds: float) -> Json:
    view = client.act(f"/v1/cases/{segment(case)}/calls/{call}/reruns", {}, key=key)
    end = time.monotonic() + seconds
    for pause in pauses():
        if view["status"] != "asked":
            return view
        if time.monotonic() + pause > end:
            raise Retry(
                "cli.still_working",
                f"Call {call} waits for room on a host, or is under way.",
                f"It goes on by itself. Look again with: diwan case rerun {case} --call {call} --key {key}",
            )
        time.sleep(pause)
        view = client.get(f"/v1/cases/{segment(case)}/reruns/{segment(view['id'])}")
    raise AssertionError  # pauses() has no end


_REMEDIES = {
    "rerun.no_host": "The hosts that could have taken it are gone; see `diwan pool status`, and ask again.",
    "rerun.no_room": "Its hosts were busy with agents' calls; ask again when they are less so.",
    "rerun.not_as_recorded": "What is stored is not what the ledger committed to: diwan ledger verify",
    "vault.key_destroyed": "What was asked and answered is erased.",
}


def _remedy(reason: str) -> str:
    return _REMEDIES.get(reason, "See `diwan pool status` and the pool worker's log.")


# --- pictures ---------------------------------------------------------------------------------------------------------


def calls(items: list[Json], width: int) -> RenderableType:
    """The calls of a case as a table."""
    if not items:
        return "No model has answered in this case."
    return table(_CALLS, [_row(item) for item in items], width=width)


def _row(item: Json) -> Json:
    by = item["answered_by"]
    return {
        **item,
        "at": minute(item["at"]),
        "place": f"{item['step']}/{item['visit']} call {item['call']}",
        "model": by["model"],
        "weights": by["weights_digest"][:_SHORT],
        "engine": by["engine_version"] or by["fingerprint"],
        "seed": "" if item["seed"] is None else str(item["seed"]),
        "again": _WHY_NOT.get(item["why_not"], item["why_not"]) or f"yes: {', '.join(item['hosts'])}",
    }


def picture(view: Json, width: int) -> RenderableType:
    """What came of a rerun."""
    fields: list[tuple[str, object]] = [
        ("Call", view["number"]),
        ("Outcome", view["words"]),
        ("Asked", f"{minute(view['asked_at'])} by {view['asked_by']}"),
        ("Ended", minute(view["ended_at"])),
        ("Temperature", view["temperature"] or _UNKNOWN),
        ("Seed", _UNKNOWN if view["seed"] is None else str(view["seed"])),
    ]
    parts: list[RenderableType] = []
    if view["reason"]:
        fields.append(("Not run because", view["reason"]))
    if view["now"] is not None:
        fields.append(("Tokens compared", "yes" if view["tokens"] else "no: only what the answers say"))
        parts += [table(_SIDES, _sides(view), width=width)]
    for name, title in (("first", "First difference"), ("said", "First difference in words")):
        if view[name] is not None:
            parts += ["", record(_difference(view[name]), title=title)]
    return Group(record(fields), *parts)


def _sides(view: Json) -> list[Json]:
    then, now, same = view["then"], view["now"], view["same"]
    shown = (
        ("Model", "model", None),
        ("Weights", "weights_digest", "weights"),
        ("Tokenizer", "tokenizer_digest", "tokenizer"),
        ("Engine's version", "engine_version", "engine_version"),
        ("Engine says of itself", "fingerprint", "engine_configuration"),
        ("Batch-invariant", "batch_invariant", None),
        ("Host", "host", None),
        ("Tokens from its cache", "cached_tokens", None),
    )
    return [
        {"name": title, "then": _said(then[name]), "now": _said(now[name]), "same": same.get(of, "") if of else ""}
        for title, name, of in shown
    ]


def _said(value: object) -> str:
    text = "" if value is None else str(value)
    return (text[:_SHORT] if len(text) == 64 else text) or _UNKNOWN


def _difference(found: Json) -> list[tuple[str, object]]:
    place = found["part"] if found["position"] is None else f"{found['part']}, at {found['position']}"
    return [("Where", place), ("After", found["before"]), ("Then", found["then"]), ("Now", found["now"])]
