"""Each event that was acknowledged is stored once, as it was sent, and took effect once, in its order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.faults.evidence import Evidence, Report, Row, Sent, Stored, doubled

TASK = "task"  # the source of what people did


def check(stored: Stored, evidence: Evidence, report: Report) -> None:
    rows = {(row["source"], row["event_id"]): row for row in stored["inbox"]}
    report.counts["events"] = len(stored["inbox"])
    for key in doubled(stored["inbox"], "tenant", "source", "event_id"):
        report.find("event.stored_twice", "/".join(key[1:]), "one source and id, two rows")
    inboxes, chains = stored.of_cases("inbox"), stored.of_cases("entry")
    for case in stored["case_file"]:
        key = (case["tenant"], case["id"])
        _inbox(case, inboxes.get(key, []), report)
        _effects(case, inboxes.get(key, []), chains.get(key, []), report)
        _acceptances(case, inboxes.get(key, []), chains.get(key, []), report)
    _strays(stored, rows, report)
    if evidence.sent is not None:
        _acknowledged(evidence.sent, stored, rows, report)


def _inbox(case: Row, inbox: list[Row], report: Report) -> None:
    """Numbers without gap; what is before the cursor was consumed, and nothing else."""
    numbers = [row["inbox_seq"] for row in inbox]
    if sorted(numbers) != list(range(1, case["inbox_last"] + 1)):
        text = f"the inbox has numbers {numbers}, its last is said to be {case['inbox_last']}"
        report.find("event.number_gap", case["id"], text)
    for row in inbox:
        where = f"{case['id']} event {row['inbox_seq']}"
        if (row["consumed_at"] is not None) != (row["inbox_seq"] <= case["inbox_cursor"]):
            state = "consumed" if row["consumed_at"] else "not consumed"
            report.find("inbox.cursor_differs", where, f"{state}, and the cursor stands at {case['inbox_cursor']}")
    if case["inbox_last"] > case["inbox_cursor"]:
        text = f"{case['inbox_last'] - case['inbox_cursor']} events wait, and nothing is under way"
        report.find("event.unconsumed", case["id"], text)


def _effects(case: Row, inbox: list[Row], entries: list[Row], report: Report) -> None:
    """One entry for each event that took effect, in the order of their numbers."""
    taken = [each["detail"].get("inbox_seq") for each in entries if each["kind"] == "event:event:consumed"]
    counted = Counter(taken)
    for row in inbox:
        where, times = f"{case['id']} event {row['inbox_seq']}", counted.pop(row["inbox_seq"], 0)
        if times > 1:
            report.find("event.effect_doubled", where, f"consumed {times} times, by the ledger")
        if times == 0 and row["consumed_at"] is not None:
            report.find("event.effect_missing", where, "consumed, but the ledger does not have it")
        if times and row["consumed_at"] is None:
            report.find("event.effect_unexplained", where, "the ledger has it consumed, the inbox does not")
    for number in counted:
        report.find("event.effect_unexplained", f"{case['id']} event {number}", "consumed, but there is no such event")
    if taken != sorted(taken):
        report.find("event.order_differs", case["id"], f"events took effect in the order {taken}")


def _acceptances(case: Row, inbox: list[Row], entries: list[Row], report: Report) -> None:
    """One entry for the arrival of each event: the sender's, the person's act, or the filing of a stray one."""
    arrived: Counter[tuple[str, object]] = Counter()
    for entry in entries:
        what, detail = entry["kind"].split(":"), entry["detail"]
        if what[0] == "event" and what[2] in ("accepted", "assigned"):
            arrived["event", detail.get("inbox_seq")] += 1
        elif entry["kind"] == "task:act:recorded" and detail.get("status") == "completed":
            arrived["act", detail.get("task")] += 1
    for row in inbox:
        by_act, by_number = ("act", row["event_id"]), ("event", row["inbox_seq"])
        times = arrived.pop(by_number, 0) or (arrived.pop(by_act, 0) if row["source"] == TASK else 0)
        if times != 1:
            name = "event.entry_doubled" if times else "event.entry_missing"
            report.find(name, f"{case['id']} event {row['inbox_seq']}", f"{times} entries tell of its arrival")
    for kind, of in arrived:
        if kind == "event":
            report.find("event.entry_unexplained", f"{case['id']} event {of}", "arrived, by the ledger; not stored")


def _strays(stored: Stored, rows: dict[tuple[str, str], Row], report: Report) -> None:
    """What matches no case is a task with a chain of its own; a second id names the first, whose case records it."""
    strays = 0
    repeated = Counter(e["chain"] for e in stored["entry"] if e["kind"].endswith(":repeated"))
    for row in stored["inbox"]:
        if row["case_id"] is not None:
            continue
        where = f"{row['source']} {row['event_id']}"
        if not row["consumed_by"]:
            strays += 1
            continue
        first = rows.get((row["source"], row["consumed_by"]))
        if first is None or first["case_id"] is None or first["digest"] != row["digest"]:
            report.find("event.repeat_unexplained", where, f"repeats {row['consumed_by']}, which is no such event")
        elif repeated[first["case_id"]] < 1:
            report.find("event.entry_missing", where, "no entry tells that it came again under this id")
        else:
            repeated[first["case_id"]] -= 1
    for case, times in repeated.items():
        if times:
            report.find("event.entry_unexplained", case, f"{times} came again, by the ledger; not stored")
    tasks = sum(task["kind"] == "stray_event" for task in stored["task"])
    told = sum(e["chain"].startswith("stray/") and e["kind"].endswith(":accepted") for e in stored["entry"])
    report.counts["strays"] = strays
    if not strays == tasks == told:
        report.find("event.stray_lost", "stray events", f"{strays} stored, {tasks} tasks for them, {told} entries")


def _acknowledged(sent: Sequence[Sent], stored: Stored, rows: dict[tuple[str, str], Row], report: Report) -> None:
    """What the sender was told, against what is stored."""
    tries: dict[tuple[str, str], list[Sent]] = defaultdict(list)
    for each in sent:
        tries[each.source, each.id].append(each)
    numbers = {case["id"]: case["number"] for case in stored["case_file"]}
    digests: dict[str, set[str]] = defaultdict(set)
    for key, made in tries.items():
        answered = [each for each in made if each.status == 202]
        row, where = rows.get(key), " ".join(key)
        report.counts["events sent"] += 1
        report.counts["sendings"] += len(made)
        report.counts["acknowledged"] += bool(answered)
        if answered and row is None:
            report.find("event.lost", where, "acknowledged, and not stored")
        if row is None:
            continue
        if not answered:
            report.counts["stored, no acknowledgement arrived"] += 1
        if {(each.case, each.number) for each in answered} - {_place(row, rows, numbers)}:
            report.find("event.answer_differs", where, "the sender was told another case than the one that has it")
        for body in {each.body for each in answered}:
            digests[body].add(row["digest"])
        if len({each.body for each in answered}) > 1:
            report.find("event.body_differs", where, "two bodies were acknowledged under one id")
    for body, stored_as in digests.items():
        if len(stored_as) > 1:
            report.find("event.body_differs", body, "one body is stored as several")
    if len(set().union(*digests.values())) < sum(map(len, digests.values())):
        report.find("event.body_differs", "digests", "different bodies are stored as the same")
    for key in rows.keys() - tries.keys():
        if key[0] != TASK:
            report.find("event.unexplained", " ".join(key), "stored, and nobody sent it")


def _place(row: Row, rows: dict[tuple[str, str], Row], numbers: dict[str, str]) -> tuple[str, str]:
    case = row["case_id"] or rows.get((row["source"], row["consumed_by"]), {}).get("case_id")
    return (case or "", numbers.get(case, "") if case else "")
