"""Histories of runs against entries: what an activity did is on the ledger, and what entries name is in the history.

A history is behind or cut where its run was ended from outside: what a local activity did is marked in it only when the
workflow's own step completes. Such are counted, not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from diwan.ledger.history import Activity, History
from diwan.ledger.twins import CaseData, Found, Said

# By which activities an entry of each kind is written. Of local ones a history has a marker when they are done.
_REMOTE, _LOCAL = "remote", "local"
WRITTEN_BY: Mapping[str, Mapping[str, str]] = {
    "agent:run:started": {"begin_run": _REMOTE},
    "agent:model:called": {"call_model": _REMOTE},
    "agent:model:failed": {"call_model": _REMOTE},
    "agent:tool:called": {"call_tool": _LOCAL},
    "agent:run:ended": {"end_run": _LOCAL},
    "event:event:consumed": {"drain_inbox": _LOCAL, "wake": _LOCAL},
    "case:period:expired": {"drain_inbox": _LOCAL, "wake": _LOCAL},
    "case:case:blocked": {"block_case": _LOCAL},
    "case:decision:issued": {"perform_step": _REMOTE},
    "letter:letter:issued": {"perform_step": _REMOTE, "wake": _LOCAL},
    "task:reminder:sent": {"wake": _LOCAL},
    "call:rerun:ended": {"rerun_call": _REMOTE, "end_rerun": _LOCAL},
}
_BY_ITSELF = ("completed", "continued_as_new")


@dataclass(frozen=True, slots=True)
class Retraced:
    """A run with its history. `upto`: the case's version when the history was read; None for one that has ended."""

    run_id: str
    workflow_id: str
    history: History
    upto: int | None = None


def retrace(data: CaseData, runs: Sequence[Retraced], found: Found) -> None:
    """Both ways, for the runs whose histories are at hand."""
    known = {row["run_id"] for row in data.rows["workflow_run"]}
    there = {each.run_id: each for each in runs}
    found.counts["histories compared"] += len(runs)
    _named(data, known, there, found)
    for run in runs:
        for _, run_id in run.history.leads_to:
            if run_id not in known and run.upto is None:
                found.find("workflow_run.row_missing", run_id, f"the history of {run.run_id} led to it")
        if run.history.follows and run.history.follows not in known and run.upto is None:
            found.find("workflow_run.row_missing", run.history.follows, f"{run.run_id} follows it")
        _effects(data, run, found)


def _named(data: CaseData, known: set[Any], there: Mapping[str, Retraced], found: Found) -> None:
    """Each entry that names a run is found in its history; once entries of a case name runs, all that a workflow writes
    do. What an entry says of its version counts for nothing: whoever writes it chooses that, but not its place."""
    naming: dict[bool, int] = {}  # since which entry, of what is written beside an engine and of the rest
    for entry in data.entries:
        run_id, _, activity = str(entry.header.get("workflow_run", "")).partition("/")
        if not run_id:
            if entry.kind in WRITTEN_BY:
                _unnamed(entry, naming.get(_beside_an_engine(entry)), found)
            continue
        naming.setdefault(_beside_an_engine(entry), entry.seq)
        found.counts["entries that name a run"] += 1
        if run_id not in known:
            found.find("workflow_run.row_missing", run_id, f"entry {entry.seq} names it")
        elif run_id in there:
            _one(entry, activity, there[run_id], found)
        else:
            found.counts["entries whose history is not at hand"] += 1


def _unnamed(entry: Said, since: int | None, found: Found) -> None:
    version = str(entry.header.get("code_version", "")) or "unknown"
    if since is None:
        found.counts[f"entries that name no run, of version {version}"] += 1
    else:
        text = f"{entry.kind} of version {version}, and no run that wrote it; entry {since} named one"
        found.find("entry.run_unnamed", entry.seq, text)


def _beside_an_engine(entry: Said) -> bool:
    """Those hosts are upgraded apart."""
    return entry.kind.startswith("agent:model:") or entry.kind == "call:rerun:ended"


def _one(entry: Said, activity: str, run: Retraced, found: Found) -> None:
    by, there = WRITTEN_BY.get(entry.kind, {}), run.history.activities.get(activity)
    where = f"entry {entry.seq}, activity {activity} of {run.run_id}"
    if there is None:
        newer = run.upto is not None and entry.seq > run.upto
        unmarked = _LOCAL in by.values() and run.history.ended not in _BY_ITSELF
        if newer or unmarked:
            found.counts["entries not marked in a history that was ended from outside, or goes on"] += 1
        else:
            found.find("history.activity_missing", where, f"{entry.kind}: the history has no such activity")
    elif by and there.type not in by and not run.history.faulty:
        found.find("history.activity_differs", where, f"{entry.kind}: the history has {there.type} there")
    elif there.type == "call_model" and not _same_call(entry, there):
        found.find("history.activity_differs", where, f"the history has call {there.given.get('call')} there")


def _same_call(entry: Said, there: Activity) -> bool:
    given = there.given
    told = (entry.detail.get("call"), entry.step, entry.visit)
    return told == (given.get("call"), given.get("step"), given.get("visit"))


def _effects(data: CaseData, run: Retraced, found: Found) -> None:
    """What the activities of a run did is on the ledger."""
    step, visit = _place(run.workflow_id)
    done = [each for each in run.history.activities.values() if each.done]
    found.counts["activities"] += len(run.history.activities)
    for each in done:
        wanted = _wanted(data, each, step, visit)
        if wanted:
            found.find("history.effect_missing", f"activity {each.id} of {run.run_id}", f"{each.type}: {wanted}")
        if isinstance(each.result, dict):
            _not_ahead(data, run, each, found)
    tools = sum(each.type == "call_tool" for each in done)
    told = sum((each.step, each.visit) == (step, visit) for each in data.of("agent:tool:called"))
    if tools > told:
        text = f"{tools} tools were called, {told} entries tell of it"
        found.find("history.effect_missing", f"tools of {run.run_id}", text)


def _not_ahead(data: CaseData, run: Retraced, each: Activity, found: Found) -> None:
    """A workflow was told at which version the case stood: none that is not there by now."""
    version, cursor = each.result.get("version"), each.result.get("cursor")
    where = f"activity {each.id} of {run.run_id}"
    if isinstance(version, int) and version > int(data.case["version"]):
        found.find("history.ahead", where, f"it was told of version {version}, the case is at {data.case['version']}")
    if isinstance(cursor, int) and cursor > int(data.case["inbox_cursor"]):
        found.find("history.ahead", where, f"event {cursor} had been taken, the case is at {data.case['inbox_cursor']}")


def _wanted(data: CaseData, each: Activity, step: str, visit: int) -> str:
    """What ought to be on the ledger after an activity and is not; empty where it is."""
    given = each.given
    result: dict[str, Any] = cast("dict[str, Any]", each.result) if isinstance(each.result, dict) else {}
    at = (given.get("step", step), given.get("visit", visit))
    match each.type:
        case "begin_run":
            there = any((e.step, e.visit) == at for e in data.of("agent:run:started"))
        case "call_model":
            called = data.of("agent:model:called")
            there = any((e.step, e.visit) == at and e.detail.get("call") == given.get("call") for e in called)
        case "perform_step":
            there = (result.get("step"), result.get("visit")) == at or _left(data, *at)
        case "end_run":
            run = [row for row in data.rows["agent_run"] if (row["step"], row["visit"]) == (step, visit)]
            there = bool(run) and run[0]["status"] != "running"
        case "block_case":
            code = str(result.get("blocked", ""))
            there = not code or any(e.detail.get("code") == code[:200] for e in data.of("case:case:blocked"))
        case "rerun_call" | "end_rerun":
            ids = {e.detail.get("rerun") for e in data.of("call:rerun:ended")}
            there = not each.result or given.get("rerun", step) in ids
        case _:
            there = True
    return "" if there else f"nothing on the ledger of {' '.join(str(part) for part in at)}"


def _left(data: CaseData, step: str, visit: int) -> bool:
    """Whether an entry tells of how the case left a visit of a step."""
    return any("to" in e.detail and (e.step, e.visit) == (step, visit) for e in data.entries)


def _place(workflow_id: str) -> tuple[str, int]:
    """Step and visit of an agent's run by its id; the id of a rerun in the step's place."""
    parts = workflow_id.split("/")
    if len(parts) == 4 and parts[3].isdigit():
        return parts[2], int(parts[3])
    return (parts[3], 0) if len(parts) == 4 else ("", 0)
