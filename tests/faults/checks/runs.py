"""Of each model call one answer is used, the first; each tool answers once; runs end, with an entry for each thing."""

from __future__ import annotations

from collections import Counter, defaultdict

from tests.faults.evidence import Evidence, Report, Row, Stored

_NAMES: dict[object, str] = {"answer": "answer", "fault": "answer", "tool": "tool", "started": "run", "ended": "run"}


def check(stored: Stored, evidence: Evidence, report: Report) -> None:
    report.counts["runs"] = len(stored["agent_run"])
    report.counts["model calls"] = len(stored["model_call"])
    report.counts["answers late or unused"] = sum(row["status"] == "late" for row in stored["model_call"])
    cases = {(case["tenant"], case["id"]): case for case in stored["case_file"]}
    calls: dict[str, list[Row]] = defaultdict(list)
    for row in stored["model_call"]:
        calls[row["run_id"]].append(row)
    for run in stored["agent_run"]:
        case = cases.get((run["tenant"], run["case_id"]))
        if case is not None:  # else the ledger's check names it
            _run(run, case, calls.get(run["id"], []), report)
    for run_id in calls.keys() - {run["id"] for run in stored["agent_run"]}:
        report.find("run.missing", run_id, "calls of a run that there is not")
    _entries(stored, report)


def _run(run: Row, case: Row, calls: list[Row], report: Report) -> None:
    where = run["id"]
    used = Counter(row["call"] for row in calls if row["used"])
    for call, times in used.items():
        if times > 1:
            report.find("answer.doubled", f"{where} call {call}", f"{times} answers of one call are used")
    if sorted(used) != list(range(1, len(used) + 1)):
        report.find("answer.missing", where, f"answers of calls {sorted(used)} are used, others between are not")
    if run["calls"] != sum(used.values()):
        report.find("run.calls_differ", where, f"{run['calls']} calls counted, {sum(used.values())} answers used")
    for row in calls:
        if row["used"] and row["status"] != "answered":
            report.find("answer.unexplained", f"{where} call {row['call']}", f"used, and its status is {row['status']}")
    if run["status"] == "finished" and not any(row["used"] and row["final"] for row in calls):
        report.find("run.answer_missing", where, "finished, and has no final answer")
    at_it = (case["state"].get("step"), case["state"].get("visit")) == (run["step"], run["visit"])
    if run["status"] == "running" and not (at_it and case["kind"] == "agent"):
        report.find("run.not_ended", where, f"still running, and its case is at {case['state'].get('step')}")


def _entries(stored: Stored, report: Report) -> None:
    """An entry for each run begun and ended, each answer or fault stored, each tool's result; and none more."""
    told: Counter[tuple[object, ...]] = Counter()
    ended: set[str] = set()
    for entry in stored["entry"]:
        said, detail = entry["said"], entry["detail"]
        run = f"{entry['chain']}/{said.get('step')}/{said.get('visit')}"
        if entry["kind"] == "agent:model:called":
            told["answer", run, detail.get("call"), said.get("attempt")] += 1
            if detail.get("used") and run in ended:
                report.find("answer.used_late", f"{run} call {detail.get('call')}", "used after its run had ended")
        elif entry["kind"] == "agent:model:failed":
            told["fault", run, detail.get("call"), said.get("attempt")] += 1
        elif entry["kind"] == "agent:tool:called":
            told["tool", run, detail.get("call"), detail.get("position")] += 1
        elif entry["kind"] == "agent:run:started":
            told["started", run] += 1
        elif entry["kind"] == "agent:run:ended":
            told["ended", run] += 1
            ended.add(run)
    wanted = _wanted(stored)
    for key in wanted - told.keys():
        report.find(f"{_NAMES[key[0]]}.entry_missing", _where(key), f"{key[0]}: stored, and not on the ledger")
    for key, times in told.items():
        if key not in wanted:
            report.find(f"{_NAMES[key[0]]}.lost", _where(key), f"{key[0]}: on the ledger, and not stored")
        elif times > 1:
            report.find(f"{_NAMES[key[0]]}.entry_doubled", _where(key), f"{key[0]}: {times} entries of one")


def _wanted(stored: Stored) -> set[tuple[object, ...]]:
    wanted: set[tuple[object, ...]] = set()
    for row in stored["model_call"]:
        if row["status"] != "sent":
            what = "fault" if row["status"] == "failed" else "answer"
            wanted.add((what, row["run_id"], row["call"], row["attempt"]))
    for row in stored["tool_call"]:
        wanted.add(("tool", row["run_id"], row["call"], row["position"]))
    for row in stored["agent_run"]:
        wanted.add(("started", row["id"]))
        if row["status"] in ("finished", "gave_up"):
            wanted.add(("ended", row["id"]))
    return wanted


def _where(key: tuple[object, ...]) -> str:
    return " ".join(map(str, key[1:]))
