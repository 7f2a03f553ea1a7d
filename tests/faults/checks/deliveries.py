"""What is told to webhooks: each once enqueued, each delivered, repeats the same, and nothing that is not stored."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.faults.evidence import Delivered, Evidence, Report, Row, Stored, doubled


def check(stored: Stored, evidence: Evidence, report: Report) -> None:
    rows = {row["id"]: row for row in stored["outbox"]}
    report.counts["outgoing events"] = len(rows)
    _enqueued(stored, report)
    for key in doubled(stored["outbox"], "tenant", "id"):
        report.find("outbox.doubled", str(key[1]), "one webhook-id, two rows")
    if evidence.delivered is None:
        return
    got: dict[str, list[Delivered]] = defaultdict(list)
    for delivery in evidence.delivered:
        got[delivery.id].append(delivery)
    report.counts["deliveries"] = len(evidence.delivered)
    report.counts["deliveries repeated"] = len(evidence.delivered) - len(got)
    for id_, row in rows.items():
        _outgoing(row, got.get(id_, []), report)
    for id_, deliveries in got.items():
        _received(id_, deliveries, rows.get(id_), report)


def _enqueued(stored: Stored, report: Report) -> None:
    """For each letter, decision, reminder of a task and end of a case an event, for each webhook."""
    hooks = [(hook["tenant"], hook["id"]) for hook in stored["webhook"] if hook["active"]]
    wanted: Counter[tuple[str, str, str]] = Counter()
    happened = [("diwan.letter.issued", row["tenant"], row["case_id"]) for row in stored["letter"]]
    happened += [("diwan.decision.issued", row["tenant"], row["case_id"]) for row in stored["decision"]]
    happened += [
        ("diwan.task.reminded", entry["tenant"], entry["chain"])
        for entry in stored["entry"]
        if entry["kind"] == "task:reminder:sent"
    ]
    happened += [
        ("diwan.case.closed", case["tenant"], case["id"]) for case in stored["case_file"] if case["kind"] == "end"
    ]
    for type_, tenant, case in happened:
        for of_tenant, hook in hooks:
            if of_tenant == tenant:
                wanted[type_, case, hook] += 1
    there = Counter((row["type"], row["case_id"], row["webhook_id"]) for row in stored["outbox"])
    for key in wanted.keys() | there.keys():
        where = " ".join(map(str, key))
        if there[key] < wanted[key]:
            report.find("outbox.missing", where, f"{wanted[key]} happened, {there[key]} are told")
        if there[key] > wanted[key]:
            report.find("outbox.doubled", where, f"{wanted[key]} happened, {there[key]} are told")


def _outgoing(row: Row, deliveries: Sequence[Delivered], report: Report) -> None:
    where = f"{row['type']} {row['id']}"
    taken = any(200 <= delivery.status < 300 for delivery in deliveries)
    if row["delivered_at"] is None:
        report.find("delivery.outstanding", where, f"not delivered after {row['attempts']} attempts")
    elif not taken:
        report.find("delivery.missing", where, "said to be delivered, and the receiver does not have it")


def _received(id_: str, deliveries: Sequence[Delivered], row: Row | None, report: Report) -> None:
    if row is None:
        report.find("delivery.unexplained", id_, "the receiver has it, and it was never enqueued")
        return
    if len({delivery.body for delivery in deliveries}) > 1:
        report.find("delivery.contradictory", id_, "one webhook-id, two bodies")
    if any(_read(delivery.body) != row["payload"] for delivery in deliveries):
        report.find("delivery.body_differs", id_, "what was received is not what was enqueued")
    if not all(delivery.signed for delivery in deliveries):
        report.find("delivery.unsigned", id_, "the signature does not hold")


def _read(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None
