"""`diwan pool status`: hosts, models, load, prefix hits, and how long the ministry's agents wait for an engine."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType

from diwan.cli.credentials import AsOption, AsRole, connect
from diwan.cli.output import Column, Output, OutputOption, emit, table

Json = dict[str, Any]

_HOSTS = (
    Column("Host", "host", keep=True),
    Column("Model", "model"),
    Column("State", "state"),
    Column("Calls", "calls", right=True),
    Column("Room", "room", right=True),
    Column("Waiting", "waiting", right=True),
    Column("Cache", "cache", right=True),
    Column("Prefix hits", "hits", right=True),
    Column("Invariant", "batch_invariant"),
    Column("Seen", "seen", right=True),
)
_MODELS = (
    Column("Model", "model", keep=True),
    Column("Hosts", "hosts", right=True),
    Column("Serving", "serving", right=True),
    Column("Calls", "calls", right=True),
    Column("Room", "room", right=True),
    Column("Prefix hits", "hits", right=True),
)
_WAITING = (
    Column("Ministry", "tenant"),
    Column("Agents that wait", "runs", right=True),
    Column("Oldest (s)", "oldest_s", right=True),
)


def status(role: AsOption = None, output: OutputOption = Output.TABLE) -> None:
    """Show the pool: its hosts, what they carry, and how long agents wait for them."""
    with connect(role, AsRole.OPERATOR) as client:
        view = client.get("/v1/pool")
    emit(output, view, lambda width: picture(view, width))


def picture(view: Json, width: int) -> RenderableType:
    """The answer of /v1/pool as tables."""
    hosts = [_row(host) for host in view["hosts"]]
    parts: list[RenderableType] = [table(_HOSTS, hosts, width=width) if hosts else "No host has given a sign of life."]
    if view["models"]:
        parts += ["", table(_MODELS, [_model(model) for model in view["models"]], width=width)]
    return Group(*parts, "", table(_WAITING, view["waiting"], width=width))


def _model(model: Json) -> Json:
    share = model["prefix_hit_share"]
    return {**model, "hits": "" if share is None else f"{share:.0%}"}


# As diwan/pool/clock.py has it; a service that is older says nothing of clocks.
_CLOCK_TOLERATED_S = 5.0


def _row(host: Json) -> Json:
    asked, off = host["prefix_queries"], host.get("clock_off_s", 0.0)
    said = [host["state"] if not host["reason"] else f"{host['state']}: {host['reason']}"]
    if abs(off) > _CLOCK_TOLERATED_S:
        said.append(f"clock {off:+.0f} s")
    return {
        **host,
        "state": ", ".join(said),
        "cache": f"{host['kv_used']:.0%}",
        "hits": f"{host['prefix_hits'] / asked:.0%}" if asked else "",
        "seen": f"{host['unseen_s']:.0f} s ago",
    }
