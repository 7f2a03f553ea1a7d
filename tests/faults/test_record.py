"""A run under faults writes down what came of it, the same way each time."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.evidence import Finding, Report
from tests.faults.record import Circumstances, circumstances, record, section
from tests.faults.runner import Outcome, Plan

BEGAN, ENDED = datetime(2026, 11, 26, 9, 0, tzinfo=UTC), datetime(2026, 11, 26, 9, 15, tzinfo=UTC)
OF = Circumstances("python -m tests.faults --seed 7", BEGAN, "0123456789ab", "2 cores")
PLAN = Plan(cases=300, seed=7, rage_s=600, settle_s=3600)


def outcome(*findings: Finding, settled_s: float | None = 0.5) -> Outcome:
    stored = Counter({"cases": 300, "acts": 1100, "tasks": 700, "deliveries": 1500, "outgoing events": 1200})
    report = Report(list(findings), stored, results=Counter({"granted": 200, "refused": 100}))
    faults = Counter({"faults": 90, "kill": 50, "engine": 40, "engine: busy": 40, "missed (not running)": 2})
    return Outcome(report, 600.0, settled_s, faults=faults, restarts=Counter({"web": 9}))


def test_a_section_says_what_was_run_and_what_came_of_it() -> None:
    text = section(PLAN, outcome(), OF, ENDED)
    assert "2026-11-26 09:00 UTC" in text
    assert "Commit 0123456789ab. 2 cores." in text
    assert "Seed 7, 300 cases. Command: `python -m tests.faults --seed 7`." in text
    for row in (
        "| faults | 90 in 600 s: engine 40, kill 50 |",
        "| all at rest | 0.5 s after the last fault |",
        "| in all | 15.0 minutes |",
        "| cases, and how they ended | 300: granted 200, refused 100 |",
        "| still waiting | nothing |",
        "| **findings** | **none** |",
    ):
        assert row in text


def test_a_section_hides_no_finding() -> None:
    text = section(PLAN, outcome(Finding("event.lost", "e1", "not stored"), settled_s=None), OF, ENDED)
    assert "| **findings** | **1** |" in text
    assert "- event.lost  e1: not stored" in text
    assert "| all at rest | never |" in text


def test_a_run_is_recorded_in_the_place_of_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    file.write_text("<!-- bench -->\n")
    for plan in (PLAN, Plan(cases=9, seed=8, rage_s=60, settle_s=600)):
        record(plan, outcome(), OF, ENDED, file=file)
    text = file.read_text()
    assert text.startswith("<!-- bench -->")
    assert ("Seed 7" in text, text.count("Seed 8"), text.count("written by the run under faults")) == (False, 1, 1)


def test_a_run_is_of_the_commit_and_machine_that_it_began_on() -> None:
    of = circumstances("x", BEGAN)
    assert len(of.commit.split()[0]) == 12
    assert "cores" in of.machine
