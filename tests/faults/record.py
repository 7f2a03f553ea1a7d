"""What came of a run under faults, as a section of bench/RESULTS.md. Nothing in that section is written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from bench import report
from tests.faults.runner import ROOT, Outcome, Plan

RESULTS = ROOT / "bench" / "RESULTS.md"
NAME = "faults"


@dataclass(frozen=True)
class Circumstances:
    """What a run was of: taken before it begins, for the tree may change meanwhile."""

    command: str
    began: datetime
    commit: str
    machine: str


def circumstances(command: str, began: datetime) -> Circumstances:
    return Circumstances(command, began, report.commit(), report.machine())


def record(plan: Plan, outcome: Outcome, of: Circumstances, ended: datetime, *, file: Path = RESULTS) -> None:
    """Puts the section in the place of the run's before it."""
    report.write_section(file, NAME, section(plan, outcome, of, ended), by="the run under faults")


def section(plan: Plan, outcome: Outcome, of: Circumstances, ended: datetime) -> str:
    stored, findings = outcome.report.counts, outcome.report.findings
    kinds = {name: times for name, times in outcome.faults.items() if name.isalpha() and name != "faults"}
    settled = "never" if outcome.settled_s is None else f"{outcome.settled_s:.1f} s after the last fault"
    repeated = stored["deliveries repeated"]
    rows = [
        ["faults", f"{outcome.faults['faults']} in {outcome.raged_s:.0f} s: {_counts(kinds)}"],
        ["processes started again", _counts(outcome.restarts) or "none"],
        ["all at rest", settled],
        ["in all", f"{(ended - of.began).total_seconds() / 60:.1f} minutes"],
        ["cases, and how they ended", f"{stored['cases']}: {_counts(outcome.report.results)}"],
        ["events", f"{stored['events sent']} in {stored['sendings']} sendings, {stored['acknowledged']} acknowledged"],
        ["acts of people", f"{stored['acts']} on {stored['tasks']} tasks"],
        ["answers of engines", f"{stored['model calls']} in {stored['runs']} runs"],
        ["entries of the ledger", f"{stored['entries']} in {stored['chains']} chains"],
        ["deliveries", f"{stored['deliveries']} of {stored['outgoing events']} events, {repeated} of them repeated"],
        ["still waiting", _counts(outcome.report.waiting) or "nothing"],
        ["**findings**", f"**{len(findings) or 'none'}**"],
    ]
    return "\n\n".join(
        [
            f"## A run under faults, {of.began:%Y-%m-%d %H:%M} UTC",
            f"Commit {of.commit}. {of.machine}. Embedded stack, temporalio {version('temporalio')}. "
            f"Seed {plan.seed}, {plan.cases} cases. Command: `{of.command}`.",
            report.table(["", ""], rows),
            *(["\n".join(f"- {finding}" for finding in findings)] if findings else []),
            "A finding is what was lost, doubled or cannot be explained, seen from outside "
            "(docs/adr/0012-faults-judged-from-outside.md). A seed repeats the faults, not what runs between them.",
        ]
    )


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {counted[name]}" for name in sorted(counted))
