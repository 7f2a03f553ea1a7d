"""What is in entries, rows and histories of a case is in all of them; what is taken out of one, or put in, is named."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from diwan.ledger.history import read_history
from diwan.ledger.retrace import Retraced, retrace
from diwan.ledger.twins import CaseData, Finding, Said, compare

STORED = Path(__file__).resolve().parents[1] / "replay" / "histories" / "0.1.0"
RUN, OTHER = "run-1", "run-2"  # the agent's, whose history is at hand, and the case's, whose is not
TABLES = (
    *("inbox", "document", "agent_run", "model_call", "tool_call", "model_rerun", "proposal", "task", "task_act"),
    *("decision", "letter", "notification", "outbox", "workflow_run"),
)
Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Made:
    """A case of a granted application: entries, rows, and the stored history of its agent's run."""

    entries: list[dict[str, Any]]
    rows: Rows
    case: dict[str, Any]
    events: list[dict[str, Any]]
    workflow_id: str

    def findings(self, *, upto: int | None = None) -> list[Finding]:
        said = [Said(n, b"%d" % n, {"case_seq": n, **header}) for n, header in enumerate(self.entries, 1)]
        case = {"version": len(said), "head": said[-1].hash, **self.case}
        data = CaseData(case, said, self.rows, frozenset({"review"}))
        found = compare(data)
        history = read_history(json.dumps({"events": self.events}).encode(), self.workflow_id)
        retrace(data, [Retraced(RUN, self.workflow_id, history, upto)], found)
        return found.findings

    def names(self) -> set[str]:
        return {each.name for each in self.findings()}

    def drop(self, table: str, **where: Any) -> None:
        kept = [row for row in self.rows[table] if any(row[name] != value for name, value in where.items())]
        assert len(kept) == len(self.rows[table]) - 1
        self.rows[table] = kept


def entry(of: str, at: tuple[str, int] = ("", 0), *, by: str = "", **more: Any) -> dict[str, Any]:
    """`by`: the activity that wrote it."""
    attempt = {"attempt": more.pop("attempt")} if "attempt" in more else {}
    run = {"workflow_run": f"{RUN}/{by}"} if by else {}
    return {"kind": of, "step": at[0], "visit": at[1], "detail": more, **attempt, **run}


# Which activity of the stored history did what: a model call, then its tools.
CALLS = {1: ("2", ("3", "4")), 2: ("5", ("6", "7", "8", "9")), 3: ("10", ()), 4: ("11", ())}


@pytest.fixture
def made() -> Made:
    told = json.loads((STORED / "01-arabic-granted-100000.2.AgentRun.json").read_text(encoding="utf-8"))
    case = told["id"].split("/")[1]
    run, letter = f"{case}/examine/1", f"{case}/receipt/1"
    agent = ("examine", 1)
    entries = [
        entry("event:application:accepted", ("receipt", 1), inbox_seq=1, documents=2),
        entry("event:event:consumed", ("receipt", 1), inbox_seq=1, moved=False, to="receipt"),
        entry(
            "letter:letter:issued",
            ("receipt", 1),
            letter=letter,
            number="DW-1/1",
            channel="portal",
            to="examine",
            outbox=1,
        ),
        entry("agent:run:started", agent, by="1"),
    ]
    rows: Rows = {table: [] for table in TABLES}
    for call, (activity, tools) in CALLS.items():
        entries.append(entry("agent:model:called", agent, by=activity, attempt=1, call=call, used=True))
        rows["model_call"].append({"run_id": run, "call": call, "attempt": 1, "status": "answered", "used": True})
        for position, tool in enumerate(tools):
            entries.append(entry("agent:tool:called", agent, by=tool, call=call, position=position, tool="t"))
            rows["tool_call"].append({"run_id": run, "call": call, "position": position, "tool": "t"})
    entries += [
        entry("agent:run:ended", agent, by="12", to="review"),
        entry("task:act:recorded", ("review", 1), task="task-1", act="approve", status="completed", kind="review"),
        entry("event:event:consumed", ("review", 1), inbox_seq=2, moved=True, to="decide"),
        entry("case:decision:issued", ("decide", 1)),
    ]
    decided = {"letter": f"{case}/decide/1", "number": "DW-1/2", "channel": "portal", "to": "closed", "outbox": 3}
    counted = {"closes": True, "entries": len(entries), "documents": 2, "tool_calls": 6, "letters": 2}
    entries[-1]["detail"] = {**decided, **counted, "result": "granted", "signed_by": "authority-1"}
    for each in (entries[1], entries[2], *entries[-2:]):
        each["workflow_run"] = f"{OTHER}/7"
    last = len(entries)
    entries.append(entry("case:history:kept", run=RUN, digest="d"))
    entries.append(entry("call:rerun:asked", rerun="r1"))
    entries.append(entry("call:rerun:ended", rerun="r1", outcome="identical") | {"workflow_run": f"{OTHER}/8"})
    rows |= {
        "inbox": [
            {"case_id": case, "source": "s", "event_id": "e1", "inbox_seq": 1, "type": "t", "consumed_at": 1},
            {"case_id": case, "source": "task", "event_id": "task-1", "inbox_seq": 2, "type": "t", "consumed_at": 1},
        ],
        "document": [{"id": "d1"}, {"id": "d2"}],
        "agent_run": [{"id": run, "step": "examine", "visit": 1, "status": "finished"}],
        "model_rerun": [{"id": "r1", "status": "identical"}],
        "proposal": [{"id": "p1"}],
        "task": [{"id": "task-1", "kind": "review", "step": "review", "visit": 1, "status": "completed"}],
        "task_act": [{"task_id": "task-1", "act": "approve"}],
        "decision": [{"id": "d", "result": "granted", "signed_by": "authority-1"}],
        "letter": [{"id": letter, "number": "DW-1/1"}, {"id": f"{case}/decide/1", "number": "DW-1/2"}],
        "notification": [{"letter_id": each, "channel": "portal"} for each in (letter, f"{case}/decide/1")],
        "outbox": [
            {"id": f"o{n}", "type": type_, "event": f"{case}/{seq}/{type_}"}
            for n, (seq, type_) in enumerate(
                [
                    *((3, "diwan.letter.issued"), (last, "diwan.decision.issued")),
                    *((last, "diwan.letter.issued"), (last, "diwan.case.closed")),
                ]
            )
        ],
        "workflow_run": [
            {"run_id": RUN, "workflow_id": told["id"], "state": "kept", "digest": "d", "entry_seq": last + 1},
            {"run_id": OTHER, "workflow_id": f"demo/{case}", "state": "open", "digest": "", "entry_seq": None},
        ],
    }
    row = {"id": case, "status": "closed", "inbox_last": 2, "inbox_cursor": 2, "state": {"visits": {"review": 1}}}
    return Made(entries, rows, row, told["events"], told["id"])


def test_what_is_whole_has_no_finding(made: Made) -> None:
    assert made.findings() == []


# What is taken out of the rows, and what names it.
DROPPED: list[tuple[str, dict[str, Any], str]] = [
    ("agent_run", {}, "run.row_missing"),
    ("model_call", {"call": 2}, "model_call.row_missing"),
    ("tool_call", {"call": 2, "position": 3}, "tool_call.row_missing"),
    ("task", {}, "task.row_missing"),
    ("task_act", {}, "act.row_missing"),
    ("decision", {}, "decision.row_missing"),
    ("letter", {"number": "DW-1/1"}, "letter.row_missing"),
    ("notification", {"channel": "portal"}, "notification.row_missing"),
    ("inbox", {"inbox_seq": 2}, "event.row_missing"),
    ("inbox", {"inbox_seq": 1}, "effect.row_missing"),
    ("document", {"id": "d2"}, "document.row_missing"),
    ("document", {"id": "d2"}, "documents.row_missing"),
    ("outbox", {"id": "o1"}, "outbox.row_missing"),
    ("model_rerun", {}, "rerun.row_missing"),
    ("proposal", {}, "proposal.row_missing"),
    ("workflow_run", {}, "history.row_missing"),
    ("workflow_run", {}, "workflow_run.row_missing"),
]


@pytest.mark.parametrize(("table", "where", "name"), DROPPED)
def test_an_entry_whose_row_is_gone_is_named(made: Made, table: str, where: dict[str, Any], name: str) -> None:
    if not where or table == "notification":
        made.rows[table] = made.rows[table][1:]
    else:
        made.drop(table, **where)
    assert name in made.names()


# What is put into the rows, with no entry of it.
ADDED: list[tuple[str, dict[str, Any], str]] = [
    ("agent_run", {"id": "x", "step": "examine", "visit": 2, "status": "running"}, "run.entry_missing"),
    ("model_call", {"call": 5}, "model_call.entry_missing"),
    ("model_call", {"used": False}, "model_call.entry_missing"),
    ("tool_call", {"position": 9}, "tool_call.entry_missing"),
    ("task", {"id": "x", "visit": 2, "status": "open"}, "task.entry_missing"),
    ("task", {"id": "x", "kind": "late_event", "visit": 7, "status": "open"}, "task.entry_missing"),
    ("task_act", {"act": "edit"}, "act.entry_missing"),
    ("decision", {"result": "refused"}, "decision.entry_missing"),
    ("letter", {"id": "forged"}, "letter.entry_missing"),
    ("notification", {"channel": "post"}, "notification.entry_missing"),
    ("inbox", {"inbox_seq": 3, "event_id": "x"}, "event.entry_missing"),
    ("inbox", {"case_id": None, "event_id": "x"}, "repeat.entry_missing"),
    ("inbox", {"inbox_seq": 3}, "event.number_gap"),
    ("document", {"id": "x"}, "document.entry_missing"),
    ("outbox", {"id": "x", "event": "c/99/t"}, "outbox.entry_missing"),
    ("model_rerun", {"id": "x"}, "rerun.entry_missing"),
    ("proposal", {"id": "x"}, "proposal.entry_missing"),
    ("workflow_run", {"run_id": "x", "digest": "y"}, "history.entry_missing"),
]


@pytest.mark.parametrize(("table", "changed", "name"), ADDED)
def test_a_row_without_an_entry_is_named(made: Made, table: str, changed: dict[str, Any], name: str) -> None:
    made.rows[table].append({**made.rows[table][0], **changed})
    assert name in made.names()


def test_an_entry_that_is_there_twice_or_not_at_all_is_named(made: Made) -> None:
    gone = copy.deepcopy(made)
    del gone.entries[9]
    assert "tool_call.entry_missing" in gone.names()
    made.entries.append(made.entries[9])
    assert "tool_call.row_missing" in made.names()


def test_a_gap_in_the_numbers_and_another_head_are_named(made: Made) -> None:
    made.entries[3]["case_seq"] = 5
    made.case |= {"head": b"other"}
    assert {"entry.gap", "case.head_differs"} <= made.names()


def test_a_case_is_closed_once(made: Made) -> None:
    made.case["status"] = "open"
    assert "case.closing_differs" in made.names()


@pytest.mark.parametrize(
    ("kind", "classes", "names"),
    [
        ("", "", {"history.erased_untold"}),
        ("case:keys:destroyed", "account,evidence", {"history.erased_untold"}),
        ("case:erasure:approved", "decision", {"history.erased_untold"}),
        ("case:erasure:started", "account,decision,evidence", set[str]()),
        ("case:keys:destroyed", "decision", set[str]()),
    ],
)
def test_a_history_is_erased_only_where_the_ledger_says_so(
    made: Made, kind: str, classes: str, names: set[str]
) -> None:
    made.rows["workflow_run"][1]["state"] = "erased"
    if kind:
        made.entries.append(entry(kind, classes=classes))
    assert made.names() == names


# --- histories --------------------------------------------------------------------------------------------------------


def _attributes(event: dict[str, Any]) -> dict[str, Any]:
    return next(value for name, value in event.items() if name.endswith("EventAttributes"))


def _other_activity(made: Made) -> None:
    """An entry that somebody wrote says that activity 3 did it, a tool's; the history has none of its number."""
    made.entries[4]["workflow_run"] = f"{RUN}/99"


def _other_type(made: Made) -> None:
    _attributes(made.events[10])["activityType"]["name"] = "begin_run"


def _other_call(made: Made) -> None:
    made.entries[4]["detail"]["call"] = 2
    made.rows["model_call"][0]["call"] = 2


def _unnamed(made: Made) -> None:
    del made.entries[6]["workflow_run"]


def _unnamed_of_another_version(made: Made) -> None:
    """Whoever writes it chooses the version that it says, too."""
    _unnamed(made)
    made.entries[6]["code_version"] = "older"


def _cut(made: Made) -> None:
    """The end of the ledger is cut off, cleanly, with the case's row and all rows of what was done: history tells."""
    del made.entries[14:]
    made.case |= {"status": "open", "inbox_cursor": 1, "inbox_last": 1}


def _call_cut(made: Made) -> None:
    """A call and its tools are taken out of entries and rows alike."""
    made.entries = [each for each in made.entries if each["detail"].get("call") != 2]
    for table in ("model_call", "tool_call"):
        made.rows[table] = [row for row in made.rows[table] if row["call"] != 2]


def _run_cut(made: Made) -> None:
    made.rows["agent_run"][0]["status"] = "running"


def _led_elsewhere(made: Made) -> None:
    made.events[-1]["eventType"] = "EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW"
    _attributes(made.events[-1])["newExecutionRunId"] = "nobody-knows"


def _follows_another(made: Made) -> None:
    _attributes(made.events[0])["continuedExecutionRunId"] = "nobody-knows"


FORGED: dict[str, tuple[Callable[[Made], None], str]] = {
    "an entry of no activity": (_other_activity, "history.activity_missing"),
    "an activity of another type": (_other_type, "history.activity_differs"),
    "an entry of another call": (_other_call, "history.activity_differs"),
    "an entry that names no run": (_unnamed, "entry.run_unnamed"),
    "one that says it is of another version": (_unnamed_of_another_version, "entry.run_unnamed"),
    "the ledger is cut at its end": (_cut, "history.ahead"),
    "a call is cut out": (_call_cut, "history.effect_missing"),
    "a run that has ended runs": (_run_cut, "history.effect_missing"),
    "a run that nobody knows follows": (_led_elsewhere, "workflow_run.row_missing"),
    "a run that nobody knows came before": (_follows_another, "workflow_run.row_missing"),
}


@pytest.mark.parametrize("how", FORGED)
def test_what_a_history_does_not_bear_out_is_named(made: Made, how: str) -> None:
    change, name = FORGED[how]
    change(made)
    assert name in made.names()


def test_a_run_that_goes_on_may_be_behind_its_entries(made: Made) -> None:
    """Its history was read first: what has come since is counted, not found."""
    made.events = made.events[:16]  # two tools were called, and no marker of them is there yet
    assert made.findings(upto=6) == []
    names = {each.name for each in made.findings(upto=len(made.entries))}
    assert names == {"history.activity_missing"}, "what was there before it was read"


def test_entries_of_before_runs_were_named_are_no_finding(made: Made) -> None:
    """The case began under a version that named none; hosts of engines came to name them later than the others."""
    for each in (*made.entries[1:3], made.entries[4]):
        each.pop("workflow_run")
    assert made.findings() == []


def test_what_was_done_before_a_worker_died_may_be_marked_otherwise(made: Made) -> None:
    """A workflow's step that was late is done again, and what came meanwhile may take a number that another had."""
    made.events[10]["activityTaskScheduledEventAttributes"]["activityType"]["name"] = "begin_run"
    made.events[2] = {**made.events[2], "eventType": "EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT"}
    assert "history.activity_differs" not in made.names()


def test_findings_say_where(made: Made) -> None:
    made.drop("tool_call", call=2, position=3)
    (closing, tool) = sorted(made.findings(), key=lambda each: each.name == "tool_call.row_missing")
    assert (tool.name, tool.case) == ("tool_call.row_missing", made.case["id"])
    assert tool.where.endswith("/examine/1 2 3 t")
    assert "the closing entry counts 6, there are 5" in closing.text
    assert replace(tool, name="x").text == "1 entries, 0 rows"
