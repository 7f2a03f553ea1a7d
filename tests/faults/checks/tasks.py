"""A task once a visit of a step, each act on record once, and no act lost that a person was told is done."""

from __future__ import annotations

from collections import Counter

from tests.faults.evidence import Evidence, Report, Stored, doubled


def check(stored: Stored, evidence: Evidence, report: Report) -> None:
    report.counts["tasks"] = len(stored["task"])
    report.counts["acts"] = len(stored["task_act"])
    of_cases = [task for task in stored["task"] if task["case_id"] is not None]
    for key in doubled(of_cases, "tenant", "case_id", "kind", "step", "visit"):
        report.find("task.doubled", "/".join(map(str, key[1:])), "one visit of a step, two tasks")
    told = Counter(entry["detail"].get("task") for entry in stored["entry"] if entry["kind"] == "task:act:recorded")
    for task, times in Counter(act["task_id"] for act in stored["task_act"]).items():
        if told.pop(task, 0) != times:
            report.find("act.entry_differs", task, f"{times} acts, and not as many entries")
    for task in told:
        report.find("act.unexplained", str(task), "the ledger tells of an act that is not stored")
    _completed(stored, report)
    if evidence.acted is not None:
        done = {(act["task_id"], act["key"]) for act in stored["task_act"]}
        for act in evidence.acted:
            # Who has a task already and claims it again is told that it is theirs; nothing is done or stored then.
            if act.status == 200 and act.act != "claim" and (act.task, act.key) not in done:
                report.find("act.lost", f"{act.task} {act.act}", "acknowledged, and not stored")


def _completed(stored: Stored, report: Report) -> None:
    """A completed task of a step is an event of its case."""
    events = {row["event_id"] for row in stored["inbox"] if row["source"] == "task"}
    for task in stored["task"]:
        if task["case_id"] is None or task["kind"] == "late_event":
            continue
        if (task["status"] == "completed") != (task["id"] in events):
            text = f"{task['status']}, and {'an' if task['id'] in events else 'no'} event of it in the inbox"
            report.find("task.event_differs", f"{task['case_id']} {task['kind']} {task['id']}", text)
