"""`diwan pool status` in tables: each host's state with its reason, load and cache, and who waits."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from diwan.cli.pool_status import picture

HOST: dict[str, Any] = {
    **{"host": "host-1", "model": "m", "version": "0.32.0", "state": "serving", "reason": "", "since": ""},
    **{"unseen_s": 1.2, "room": 3, "most": 4, "calls": 2, "running": 2, "waiting": 1, "kv_used": 0.5},
    **{"prefix_queries": 1000, "prefix_hits": 750, "batch_invariant": "yes"},
}
WAITING = [{"tenant": "housing", "runs": 7, "oldest_s": 42.0}]


def drawn(*hosts: dict[str, Any], models: tuple[dict[str, Any], ...] = ()) -> str:
    stream = io.StringIO()
    view = {"hosts": list(hosts), "models": list(models), "waiting": WAITING}
    Console(file=stream, width=120).print(picture(view, 120))
    return stream.getvalue()


def test_each_host_has_a_line_and_what_is_wrong_with_it() -> None:
    lines = drawn(HOST, {**HOST, "host": "host-2", "state": "out", "reason": "hung", "prefix_queries": 0}).splitlines()
    (first,) = [line.split() for line in lines if "host-1" in line]
    assert first == ["host-1", "m", "serving", "2", "3", "1", "50%", "75%", "yes", "1", "s", "ago"]
    (second,) = [line for line in lines if "host-2" in line]
    assert "out: hung" in second
    assert any(line.split() == ["housing", "7", "42.0"] for line in lines)


def test_a_clock_that_is_off_is_said_and_seconds_are_not() -> None:
    assert "serving, clock +3600 s" in drawn({**HOST, "clock_off_s": 3600.0})
    assert "serving, clock -86400 s" in drawn({**HOST, "clock_off_s": -86400.0})
    assert "clock" not in drawn({**HOST, "clock_off_s": 4.0})


def test_each_model_has_a_line_with_what_its_hosts_take_together() -> None:
    load = {"model": "mistral", "hosts": 3, "serving": 2, "room": 8, "calls": 5, "prefix_hit_share": 0.625}
    idle = {"model": "qwen", "hosts": 1, "serving": 0, "room": 0, "calls": 0, "prefix_hit_share": None}
    lines = [line.split() for line in drawn(HOST, models=(load, idle)).splitlines()]
    assert ["mistral", "3", "2", "5", "8", "62%"] in lines
    assert ["qwen", "1", "0", "0", "0", "-"] in lines


def test_without_hosts_it_says_so() -> None:
    assert "No host has given a sign of life." in drawn()
