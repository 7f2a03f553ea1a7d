"""`python -m tests.faults --cases 60 --seed 7`: kills and stops everything under a load of cases, then has it judged.

Exit 0 where nothing was lost, doubled or unexplained; 1 otherwise, with a line for each finding.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from tests.faults import record
from tests.faults.runner import Outcome, Plan, run


def main() -> int:
    asked = _arguments()
    seed = asked.seed if asked.seed is not None else secrets.randbelow(1_000_000)
    rage = asked.rage if asked.rage is not None else (60.0 if asked.short else max(150.0, asked.cases * 2.0))
    plan = Plan(asked.cases, seed, rage, asked.settle, asked.short, asked.at_once, asked.keep)
    print(f"faults: seed {seed}, {plan.cases} cases{', short' if plan.short else ''}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # whatever started us may have had them ignored
        signal.signal(number, signal.default_int_handler)
    command = f"python -m tests.faults --cases {plan.cases} --seed {seed} --settle {plan.settle_s:.0f}"
    of = record.circumstances(command, datetime.now(UTC))
    outcome = asyncio.run(run(plan))
    print(_told(outcome))
    if asked.record:
        record.record(plan, outcome, of, datetime.now(UTC))
    print(f"seed {seed}: {len(outcome.report.findings)} findings")
    return 1 if outcome.report.findings else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--seed", type=int, help="the same faults again; chosen and printed where it is not given")
    parser.add_argument("--rage", type=float, metavar="S", help="how long faults go on, the whole deck at least")
    parser.add_argument(
        "--settle", type=float, default=600.0, metavar="S", help="how long all may take to come to rest"
    )
    parser.add_argument("--at-once", type=int, default=60, help="applicants at once")
    parser.add_argument("--short", action="store_true", help="one small deck: a fault of each kind at least")
    parser.add_argument("--record", action="store_true", help="put what came of it into bench/RESULTS.md")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep logs there (a short path); else all is deleted")
    return parser.parse_args()


def _told(outcome: Outcome) -> str:
    report = outcome.report
    settled = "never settled" if outcome.settled_s is None else f"settled {outcome.settled_s:.1f} s after"
    lines = [
        f"nemesis    {outcome.raged_s:.0f} s, {settled}",
        f"faults     {_counts(outcome.faults)}",
        f"restarts   {_counts(outcome.restarts)}",
        f"outside    {_counts(outcome.outside)}",
        f"answers    {_counts({str(status): times for status, times in outcome.statuses.items()})}",
        f"stored     {_counts(report.counts)}",
        f"results    {_counts(report.results)}",
        f"waiting    {_counts(report.waiting) or 'nothing'}",
    ]
    lines += [f"FINDING    {finding}" for finding in report.findings]
    names = Counter(finding.name for finding in report.findings)
    return "\n".join([*lines, f"findings   {_counts(names) or 'none'}"])


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {counted[name]}" for name in sorted(counted))


if __name__ == "__main__":
    sys.exit(main())
