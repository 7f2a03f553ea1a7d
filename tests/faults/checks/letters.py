"""One letter for each visit of a step that issues one and for each reminder, one notification, one decision a case."""

from __future__ import annotations

from collections import Counter

from tests.faults.evidence import Evidence, Report, Row, Stored, doubled

_ISSUED = ("letter:letter:issued", "case:decision:issued")
_ONCE = ("receipt", "decision", "withdrawal")


def check(stored: Stored, evidence: Evidence, report: Report) -> None:
    letters, entries, runs = (stored.of_cases(name) for name in ("letter", "entry", "agent_run"))
    report.counts["letters"] = len(stored["letter"])
    for case in stored["case_file"]:
        key = (case["tenant"], case["id"])
        _of_case(case, letters.get(key, []), report)
        _entries(case, letters.get(key, []), entries.get(key, []), report)
        kinds = Counter(letter["kind"] for letter in letters.get(key, []))
        if runs.get(key) and not kinds["receipt"]:
            report.find("letter.missing", case["id"], "the dossier was read, and no receipt was issued")
    decided = Counter(row["case_id"] for row in stored["decision"])
    signed = Counter(row["case_id"] for row in stored["letter"] if row["kind"] == "decision")
    for case_id in decided.keys() | signed.keys():
        if decided[case_id] > signed[case_id]:
            report.find("letter.missing", case_id, "a decision without its letter")
        if decided[case_id] < signed[case_id]:
            report.find("letter.unexplained", case_id, "a decision letter without a decision")
    _notified(stored, report)


def _of_case(case: Row, letters: list[Row], report: Report) -> None:
    kinds = Counter(letter["kind"] for letter in letters)
    for kind in _ONCE:
        if kinds[kind] > 1:
            report.find("letter.doubled", case["id"], f"{kinds[kind]} letters {kind}")
    visits = case["state"].get("visits", {})
    issued = [letter["id"] for letter in letters if letter["kind"] != "reminder" and "/" in letter["id"]]
    for step, times in Counter(id_.split("/")[1] for id_ in issued).items():
        if times > visits.get(step, 0):
            report.find("letter.doubled", case["id"], f"{times} letters of step {step}, visited {visits.get(step, 0)}")
    numbers = sorted(letter["number"] for letter in letters)
    if numbers != sorted(f"{case['number']}/{n}" for n in range(1, len(letters) + 1)):
        report.find("letter.number_differs", case["id"], f"numbers {numbers}")


def _entries(case: Row, letters: list[Row], entries: list[Row], report: Report) -> None:
    told = Counter((entry["detail"].get("letter"), _id(case, entry)) for entry in entries if entry["kind"] in _ISSUED)
    for letter in letters:
        times = told.pop((letter["id"], letter["id"]), 0)
        if times != 1:
            name = "letter.entry_doubled" if times else "letter.entry_missing"
            report.find(name, letter["id"], f"{times} entries tell of its issue, at its step and visit")
    for letter_id, _ in told:
        report.find("letter.lost", str(letter_id), "issued, by the ledger; not stored")


def _id(case: Row, entry: Row) -> str:
    """The id of the letter of whose issue an entry tells: its step and visit, and which reminder it is."""
    said, number = entry["said"], entry["detail"].get("reminder")
    return f"{case['id']}/{said.get('step')}/{said.get('visit')}" + (f"/reminder-{number}" if number else "")


def _notified(stored: Stored, report: Report) -> None:
    for key in doubled(stored["notification"], "tenant", "letter_id", "channel"):
        report.find("notification.doubled", str(key[1]), f"sent twice by {key[2]}")
    notified = {row["letter_id"] for row in stored["notification"]}
    for letter in stored["letter"]:
        if letter["id"] not in notified:
            report.find("notification.missing", letter["id"], "a letter that was sent by no channel")
