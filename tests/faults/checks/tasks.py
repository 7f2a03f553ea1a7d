"""A task once a visit of a step, each act on record once, and no act lost that a person was told is done."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.faults.evidence import Acted, Evidence, Report, Row, Stored, doubled

# What says nothing about an act: it may have been done.
_SILENT = frozenset({0, 401, 408, 425, 429})


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
        _answered(stored, evidence.acted, report)


def _answered(stored: Stored, acted: Sequence[Acted], report: Report) -> None:
    """What people were told, against what is stored: the same key, the same answer, whenever it is asked again."""
    done = {(act["task_id"], act["key"]): act for act in stored["task_act"]}
    tries: dict[tuple[str, str], list[Acted]] = defaultdict(list)
    for act in acted:
        tries[act.task, act.key].append(act)
    for key, made in tries.items():
        where, act = f"{made[0].task} {made[0].act}", done.get(key)
        good = [each for each in made if each.status == 200]
        # Who has a task already and claims it again is told that it is theirs; nothing is done or stored then.
        if good and act is None and made[0].act != "claim":
            report.find("act.lost", where, "acknowledged, and not stored")
        if act is None:
            continue
        refused = [n for n, each in enumerate(made) if each.status != 200 and not _silent(each)]
        before, after = (made[: refused[-1]], made[refused[-1] + 1 :]) if refused else ([], made)
        if any(each.status == 200 for each in before) or not after:
            report.find("act.answer_differs", where, f"done, and answered {[each.status for each in made]}")
        elif not all(_says(each.told, act["answer"]) for each in good):
            report.find("act.answer_differs", where, "acknowledged otherwise than it was done")


def _silent(act: Acted) -> bool:
    return act.status in _SILENT or act.status >= 500


def _says(told: Row, answer: Row) -> bool:
    """Whether an answer has what was stored as the act's own, as far as it tells of it."""
    return all(answer[name] == told[name] for name in answer.keys() & told.keys())


def _completed(stored: Stored, report: Report) -> None:
    """A completed task of a step is an event of its case."""
    events = {row["event_id"] for row in stored["inbox"] if row["source"] == "task"}
    for task in stored["task"]:
        if task["case_id"] is None or task["kind"] == "late_event":
            continue
        if (task["status"] == "completed") != (task["id"] in events):
            text = f"{task['status']}, and {'an' if task['id'] in events else 'no'} event of it in the inbox"
            report.find("task.event_differs", f"{task['case_id']} {task['kind']} {task['id']}", text)
