"""Each reminder of a visit goes out once, as the case's state has it, and none while an answer waits to be taken up."""

from __future__ import annotations

from collections import Counter

from tests.faults.evidence import Evidence, Report, Row, Stored


def check(stored: Stored, evidence: Evidence, report: Report) -> None:
    entries = stored.of_cases("entry")
    for case in stored["case_file"]:
        of_case = entries.get((case["tenant"], case["id"]), [])
        sent = [entry for entry in of_case if is_reminder(entry)]
        report.counts["reminders"] += len(sent)
        _once(case, sent, report)
        _before_the_answer(case, of_case, report)


def is_reminder(entry: Row) -> bool:
    """Whether an entry tells of a notice to those who have a task, or of a letter that reminds the applicant."""
    letter = entry["kind"] == "letter:letter:issued" and "reminder" in entry["detail"]
    return letter or entry["kind"] == "task:reminder:sent"


def _once(case: Row, sent: list[Row], report: Report) -> None:
    told = Counter((each["said"].get("step"), each["said"].get("visit"), each["detail"]["reminder"]) for each in sent)
    for (step, visit, number), times in told.items():
        if times > 1:
            report.find("reminder.doubled", case["id"], f"{times} times number {number} of {step}/{visit}")
    state = case["state"]
    here = {number for step, visit, number in told if (step, visit) == (state.get("step"), state.get("visit"))}
    known = {place for place, each in enumerate(state.get("reminders", []), start=1) if each["sent_at"]}
    if here != known:
        report.find(
            "reminder.state_differs", case["id"], f"sent by the ledger {sorted(here)}, by the case {sorted(known)}"
        )


def _before_the_answer(case: Row, entries: list[Row], report: Report) -> None:
    waiting = 0
    for entry in sorted(entries, key=lambda entry: entry["seq"]):
        kind, detail = entry["kind"], entry["detail"]
        arrived = kind.startswith("event:") and kind.endswith((":accepted", ":assigned"))
        waiting += arrived or (kind == "task:act:recorded" and detail.get("status") == "completed")
        waiting -= kind == "event:event:consumed"
        if is_reminder(entry) and waiting:
            report.find(
                "reminder.after_answer", case["id"], f"entry {entry['seq']}, with {waiting} events not taken up"
            )
