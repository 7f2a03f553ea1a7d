"""Entries of a case against its rows, one to one and both ways: each thing that happened is in both, or is named.

Pure: rows and entries come in as they were read in one snapshot (store/reconcile.py). retrace.py has the histories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diwan.domain.ports import RetentionClass

Row = Mapping[str, Any]
Key = tuple[Any, ...]

_TASK = "task"  # the source of what people did
_LATE = "late_event"
# From the first on keys are being destroyed, and nothing stops it.
_ERASED = ("case:erasure:started", "case:keys:destroyed")
# What an event that went out tells of; the entry that closes a case says so itself.
_TOLD_BY = {
    "diwan.decision.issued": ("case:decision:issued",),
    "diwan.letter.issued": ("letter:letter:issued", "case:decision:issued"),
    "diwan.task.reminded": ("task:reminder:sent",),
}


@dataclass(frozen=True, slots=True)
class Said:
    """An entry: its number, hash, and what its header says."""

    seq: int
    hash: bytes
    header: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.header["kind"])

    @property
    def detail(self) -> Mapping[str, Any]:
        return self.header.get("detail", {})

    @property
    def step(self) -> str:
        return str(self.header.get("step", ""))

    @property
    def visit(self) -> int:
        return int(self.header.get("visit", 0))


@dataclass(frozen=True)
class CaseData:
    """All of a case that is compared. `rows`: by table; `task_steps`: those at which a person is asked; `receipts`: the
    entries of its letters' own chains; `procedure_holds`: its procedure's text is the one of the hash."""

    case: Row
    entries: Sequence[Said]
    rows: Mapping[str, Sequence[Row]]
    task_steps: frozenset[str] = frozenset()
    receipts: Mapping[str, Sequence[Said]] = field(default_factory=dict[str, Sequence["Said"]])
    procedure_holds: bool = True

    @property
    def id(self) -> str:
        return str(self.case["id"])

    @property
    def erased(self) -> bool:
        """Whether the ledger says that the key is destroyed, or being destroyed, that seals why things were decided."""
        told = (str(each.detail.get("classes", "")).split(",") for each in self.of(*_ERASED))
        return any(RetentionClass.DECISION in classes for classes in told)

    def of(self, *kinds: str) -> Iterable[Said]:
        return (each for each in self.entries if each.kind in kinds)


@dataclass(frozen=True, slots=True)
class Finding:
    """What has no twin, or differs from it: `name` for machines, `where` in the case, `text` for people."""

    name: str
    case: str
    where: str
    text: str


@dataclass
class Found:
    """Findings of one case, and how much was compared."""

    case: str
    findings: list[Finding] = field(default_factory=list[Finding])
    counts: Counter[str] = field(default_factory=Counter[str])

    def find(self, name: str, where: object, text: str) -> None:
        self.findings.append(Finding(name, self.case, str(where), text))

    def match(self, what: str, rows: Iterable[Key], entries: Iterable[Key]) -> None:
        """A row and an entry for each key, one each."""
        there, told = Counter(rows), Counter(entries)
        self.counts[what] += there.total()
        for key in sorted(there.keys() | told.keys(), key=str):
            where = " ".join(str(part) for part in key) or what
            if there[key] > told[key]:
                self.find(f"{what}.entry_missing", where, f"{there[key]} rows, {told[key]} entries")
            elif told[key] > there[key]:
                self.find(f"{what}.row_missing", where, f"{told[key]} entries, {there[key]} rows")


def compare(data: CaseData) -> Found:
    """Everything of a case but its histories."""
    found = Found(data.id)
    found.counts["entries"] = len(data.entries)
    for check in _CHECKS:
        check(data, found)
    return found


def _chain(data: CaseData, found: Found) -> None:
    """Numbers without a gap, and the case's row at their end."""
    expected = 1
    for entry in data.entries:
        if entry.seq != expected:
            found.find("entry.gap", entry.seq, f"entries {expected} to {entry.seq - 1} are missing")
        if entry.header.get("case_seq") != entry.seq:
            found.find("entry.gap", entry.seq, f"its case_seq is {entry.header.get('case_seq')}")
        expected = entry.seq + 1
    last = data.entries[-1] if data.entries else None
    if last is None:
        found.find("case.entries_missing", data.id, "a case without an entry")
    elif (data.case["version"], bytes(data.case["head"])) != (last.seq, last.hash):
        text = f"the case stands at version {data.case['version']}, its last entry is {last.seq}, or another"
        found.find("case.head_differs", data.id, text)


def _closing(data: CaseData, found: Found) -> None:
    """One entry closes a closed case; what it counted is still there."""
    closing = [each for each in data.entries if each.detail.get("closes") is True]
    closed = data.case["status"] == "closed"
    if len(closing) > 1 or (closing and not closed):
        found.find(
            "case.closing_differs", data.id, f"{len(closing)} entries close a case that is {data.case['status']}"
        )
    for entry in closing[:1]:
        if entry.detail.get("entries") != entry.seq:
            found.find("case.closing_differs", entry.seq, "it counts other entries than come before it")
        for name, table in COUNTED.items():
            count, there = entry.detail.get(name), len(data.rows.get(table, ()))
            if isinstance(count, int) and there < count:
                found.find(f"{name}.row_missing", entry.seq, f"the closing entry counts {count}, there are {there}")


COUNTED = {
    **{"events": "inbox", "documents": "document", "runs": "agent_run", "model_calls": "model_call"},
    **{"tool_calls": "tool_call", "tasks": "task", "acts": "task_act", "letters": "letter", "decisions": "decision"},
}


def _events(data: CaseData, found: Found) -> None:
    inbox = [row for row in data.rows["inbox"] if row["case_id"] is not None]
    numbers = sorted(row["inbox_seq"] for row in inbox)
    if numbers != list(range(1, data.case["inbox_last"] + 1)):
        found.find("event.number_gap", data.id, f"{len(numbers)} events, the last number is {data.case['inbox_last']}")
    arrived: list[Key] = []
    for entry in data.entries:
        what = entry.kind.split(":")
        if what[0] == "event" and what[2] in ("accepted", "assigned"):
            arrived.append(("event", entry.detail.get("inbox_seq")))
        elif _completes(entry):
            arrived.append(("act", entry.detail.get("task")))
    filed = {key[1] for key in arrived if key[0] == "event"}
    acts = (row["source"] == _TASK and row["inbox_seq"] not in filed for row in inbox)
    there = [
        ("act", row["event_id"]) if by_act else ("event", row["inbox_seq"])
        for row, by_act in zip(inbox, acts, strict=True)
    ]
    found.match("event", there, arrived)
    taken = [row for row in inbox if row["consumed_at"] is not None]
    told = ((each.detail.get("inbox_seq"),) for each in data.of("event:event:consumed"))
    found.match("effect", ((row["inbox_seq"],) for row in taken), told)
    repeats = [row for row in data.rows["inbox"] if row["case_id"] is None]
    found.match("repeat", (() for _ in repeats), (() for _ in data.of("event:application:repeated")))
    brought = sum(
        int(each.detail.get("documents", 0))
        for each in data.entries
        if each.kind.startswith("event:") and each.kind.endswith((":accepted", ":assigned"))
    )
    documents = len(data.rows["document"])
    found.counts["document"] += documents
    if documents != brought:
        name = "document.entry_missing" if documents > brought else "document.row_missing"
        found.find(name, data.id, f"{documents} documents, entries tell of {brought}")


def _completes(entry: Said) -> bool:
    detail = entry.detail
    return entry.kind == "task:act:recorded" and detail.get("status") == "completed" and detail.get("kind") != _LATE


def _runs(data: CaseData, found: Found) -> None:
    runs = data.rows["agent_run"]

    def at(entry: Said) -> Key:
        return (entry.step, entry.visit)

    found.match("run", ((row["step"], row["visit"]) for row in runs), map(at, data.of("agent:run:started")))
    ended = ((row["step"], row["visit"]) for row in runs if row["status"] in ("finished", "gave_up"))
    found.match("run_end", ended, map(at, data.of("agent:run:ended")))
    answered = [row for row in data.rows["model_call"] if row["status"] != "sent"]
    found.counts["calls without an answer"] += len(data.rows["model_call"]) - len(answered)
    there = (
        (row["run_id"], row["call"], row["attempt"], "failed" if row["status"] == "failed" else bool(row["used"]))
        for row in answered
    )
    told = (
        (_run_of(data, each), each.detail.get("call"), each.header.get("attempt"), _outcome(each))
        for each in data.of("agent:model:called", "agent:model:failed")
    )
    found.match("model_call", there, told)
    tools = ((row["run_id"], row["call"], row["position"], row["tool"]) for row in data.rows["tool_call"])
    told = (
        (_run_of(data, each), each.detail.get("call"), each.detail.get("position"), each.detail.get("tool"))
        for each in data.of("agent:tool:called")
    )
    found.match("tool_call", tools, told)


def _run_of(data: CaseData, entry: Said) -> str:
    return f"{data.id}/{entry.step}/{entry.visit}"


def _outcome(entry: Said) -> Any:
    return "failed" if entry.kind == "agent:model:failed" else bool(entry.detail.get("used"))


def _reruns(data: CaseData, found: Found) -> None:
    rows = data.rows["model_rerun"]
    asked = ((each.detail.get("rerun"),) for each in data.of("call:rerun:asked"))
    found.match("rerun", ((row["id"],) for row in rows), asked)
    ended = ((row["id"], row["status"]) for row in rows if row["status"] != "asked")
    told = ((each.detail.get("rerun"), each.detail.get("outcome")) for each in data.of("call:rerun:ended"))
    found.match("rerun_end", ended, told)


def _tasks(data: CaseData, found: Found) -> None:
    if not data.procedure_holds:
        text = "its stored text is another: at which of its steps a person is asked is not known"
        found.find("procedure.text_differs", data.case["procedure_hash"], text)
    tasks = data.rows["task"]
    entered = Counter(each.detail.get("to") for each in data.entries if _moves(each))
    entered[data.entries[0].step if data.entries else ""] += 1  # at which it was opened
    taken = {each.detail.get("inbox_seq") for each in data.of("event:event:consumed")}
    found.counts["task"] += len(tasks)
    for row in tasks:
        if not (row["visit"] in taken if row["kind"] == _LATE else row["visit"] <= entered[row["step"]]):
            found.find("task.entry_missing", row["id"], f"no entry tells of how it came to be: {row['step']}")
    there = {(row["step"], row["visit"]) for row in tasks if row["kind"] != _LATE}
    for step, visits in data.case["state"].get("visits", {}).items():
        for visit in range(1, visits + 1) if step in data.task_steps else ():
            if (step, visit) not in there:
                found.find("task.row_missing", f"{step} {visit}", "the case came to this step, and nobody is asked")
    ids = {row["id"] for row in tasks}
    for entry in data.of("task:act:recorded", "task:reminder:sent"):
        if entry.detail.get("task") and entry.detail["task"] not in ids:
            found.find("task.row_missing", entry.detail["task"], f"entry {entry.seq} names a task that there is not")
    done = ((row["id"],) for row in tasks if row["status"] == "completed")
    told = ((each.detail.get("task"),) for each in data.of("task:act:recorded") if _is_done(each))
    found.match("task_end", done, told)
    acts = ((row["task_id"], row["act"]) for row in data.rows["task_act"])
    told = ((each.detail.get("task"), each.detail.get("act")) for each in data.of("task:act:recorded"))
    found.match("act", acts, told)


def _is_done(entry: Said) -> bool:
    return entry.detail.get("status") == "completed"


def _moves(entry: Said) -> bool:
    return bool(entry.detail.get("moved", True)) if entry.kind == "event:event:consumed" else "to" in entry.detail


def _decided(data: CaseData, found: Found) -> None:
    decisions = ((row["result"], row["signed_by"]) for row in data.rows["decision"])
    issued = list(data.of("case:decision:issued"))
    found.match("decision", decisions, ((each.detail.get("result"), each.detail.get("signed_by")) for each in issued))
    letters = ((row["id"], row["number"]) for row in data.rows["letter"])
    sent = [*issued, *data.of("letter:letter:issued")]
    found.match("letter", letters, ((each.detail.get("letter"), each.detail.get("number")) for each in sent))
    notified = ((row["letter_id"], row["channel"]) for row in data.rows["notification"])
    told = ((each.detail.get("letter"), each.detail.get("channel")) for each in sent)
    found.match("notification", notified, told)
    edits = (each for each in data.of("task:act:recorded") if each.detail.get("act") == "edit")
    proposed = [*data.of("agent:run:ended"), *edits]
    found.match("proposal", (() for _ in data.rows["proposal"]), (() for _ in proposed))


def _outgoing(data: CaseData, found: Found) -> None:
    """Each event that goes out tells of an entry; those written since entries count them are all there."""
    entries = {each.seq: each for each in data.entries}
    sent: Counter[int] = Counter()
    for row in data.rows["outbox"]:
        version = str(row["event"]).split("/")[1:2]
        seq = int(version[0]) if version and version[0].isdigit() else 0
        sent[seq] += 1
        if (entry := entries.get(seq)) is None or not _tells(row["type"], entry):
            found.find(
                "outbox.entry_missing", row["id"], f"{row['type']} tells of version {seq}, which has no such entry"
            )
    found.counts["outbox"] += sent.total()
    for entry in data.entries:
        if "outbox" in entry.detail and entry.detail["outbox"] != sent[entry.seq]:
            text = f"entry {entry.seq} sent {entry.detail['outbox']} events out, there are {sent[entry.seq]}"
            found.find("outbox.row_missing", entry.seq, text)


def _tells(type_: str, entry: Said) -> bool:
    if type_ == "diwan.case.closed":
        return bool(entry.detail.get("closes", True))
    return entry.kind in _TOLD_BY.get(type_, (entry.kind,))


def _kept(data: CaseData, found: Found) -> None:
    """Each history that is kept, lost or erased has its entry."""
    rows = data.rows["workflow_run"]
    kept = ((row["run_id"], row["digest"], row["entry_seq"]) for row in rows if row["state"] == "kept")
    told = ((each.detail.get("run"), each.detail.get("digest"), each.seq) for each in data.of("case:history:kept"))
    found.match("history", kept, told)
    for row in rows:
        if row["state"] == "erased" and not data.erased:
            found.find("history.erased_untold", row["run_id"], "marked as erased, and no entry tells of an erasure")
    lost = ((row["run_id"], row["entry_seq"]) for row in rows if row["state"] == "lost")
    told = ((each.detail.get("run"), each.seq) for each in data.of("case:history:lost"))
    found.match("lost_history", lost, told)


_CHECKS: tuple[Callable[[CaseData, Found], None], ...] = (
    *(_chain, _closing, _events, _runs, _reruns, _tasks, _decided, _outgoing, _kept),
)
