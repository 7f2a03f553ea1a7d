"""Each case ended once, as its decision says, or waits for something that has a name; numbers are whole."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from tests.faults.evidence import Evidence, Report, Row, Stored, doubled

# Results that somebody signed; the others follow from a withdrawal or a date.
DECIDED = frozenset({"granted", "partly_granted", "conditional", "refused", "inadmissible"})
_LIVE = ("open", "claimed")
# Past its date for so long, nothing is going to wake a case.
_GRACE = timedelta(minutes=2)


def check(stored: Stored, evidence: Evidence, report: Report) -> None:
    tasks, entries, decisions = (stored.of_cases(name) for name in ("task", "entry", "decision"))
    report.counts["cases"] = len(stored["case_file"])
    for case in stored["case_file"]:
        key = (case["tenant"], case["id"])
        if case["status"] == "closed" or case["kind"] == "end":
            report.results[str(case["state"].get("result"))] += 1
            _ended(case, tasks.get(key, []), entries.get(key, []), report)
        else:
            _waits(case, tasks.get(key, []), stored, report)
        _decided(case, decisions.get(key, []), entries.get(key, []), report)
    for key in doubled(stored["case_file"], "tenant", "source", "reference"):
        report.find("case.doubled", "/".join(key[1:]), "two cases of one reference")
    _numbers(stored, report)


def _ended(case: Row, tasks: list[Row], entries: list[Row], report: Report) -> None:
    where, state = case["id"], case["state"]
    whole = case["status"] == "closed" and case["kind"] == "end" and case["closed_at"] is not None
    if not whole or not state.get("result"):
        report.find("case.half_ended", where, f"status {case['status']}, kind {case['kind']}, {state.get('result')}")
    closings = [entry for entry in entries if _enters(entry, state.get("step"))]
    if len(closings) != 1:
        name = "case.ended_twice" if closings else "case.end_unexplained"
        report.find(name, where, f"{len(closings)} entries close it")
    for task in tasks:
        if task["status"] in _LIVE and task["kind"] != "late_event":
            report.find("case.ended_with_task", where, f"task {task['kind']} is still open")


def _enters(entry: Row, step: str | None) -> bool:
    """Whether an entry moved its case to a step."""
    detail = entry["detail"]
    moved = detail.get("moved", True) if entry["kind"] == "event:event:consumed" else True
    return detail.get("to") == step and bool(moved)


def _waits(case: Row, tasks: list[Row], stored: Stored, report: Report) -> None:
    """What an open case waits for must have a name."""
    step, visit = case["state"].get("step"), case["state"].get("visit")
    where = f"{case['id']} at {step}/{visit}"
    asked = [task for task in tasks if task["status"] in _LIVE and (task["step"], task["visit"]) == (step, visit)]
    if case["wake_at"] is not None and case["wake_at"] + _GRACE < stored.now:
        report.find("case.overdue", where, f"a date was over at {case['wake_at']:%Y-%m-%d %H:%M:%S}")
    if case["blocked"]:
        report.waiting[f"blocked: {case['blocked']}"] += 1
    elif case["kind"] == "task" and asked:
        report.waiting[f"task: {asked[0]['kind']}"] += 1
    elif case["kind"] == "wait" and case["wake_at"] is not None:
        report.waiting[f"{case['status']} at {step}"] += 1
    else:
        report.find("case.waits_for_nothing", where, f"kind {case['kind']}, no open task, no date, not blocked")


def _decided(case: Row, decisions: list[Row], entries: list[Row], report: Report) -> None:
    where, result = case["id"], case["state"].get("result")
    wanted = 1 if result in DECIDED else 0
    told = sum(entry["kind"] == "case:decision:issued" for entry in entries)
    report.counts["decisions"] += len(decisions)
    if len(decisions) > 1:
        report.find("decision.doubled", where, f"{len(decisions)} decisions of one case")
    elif len(decisions) < wanted:
        report.find("decision.missing", where, f"the case ended {result}, and nothing was decided")
    elif len(decisions) > wanted:
        report.find("decision.unexplained", where, f"decided, and the case ended {result}")
    elif decisions and decisions[0]["result"] != result:
        report.find("decision.differs", where, f"decided {decisions[0]['result']}, ended {result}")
    if told != len(decisions):
        report.find("decision.entry_differs", where, f"{len(decisions)} decisions, {told} entries")


def _numbers(stored: Stored, report: Report) -> None:
    """Numbers of a series: each once, none left out."""
    series: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case in stored["case_file"]:
        name, _, number = case["number"].rpartition("-")
        series[case["tenant"], name].append(number)
    last = {(row["tenant"], row["series"]): row["last"] for row in stored["numbering"]}
    for key in series.keys() | last.keys():
        numbers, upto = series.get(key, []), last.get(key, 0)
        if len(set(numbers)) != len(numbers):
            report.find("number.doubled", key[1], "two cases have one number")
        if {int(number) for number in numbers if number.isdigit()} != set(range(1, upto + 1)):
            report.find("number.gap", key[1], f"{len(numbers)} cases, and the last number given is {upto}")
