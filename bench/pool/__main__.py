"""`python -m bench.pool [--quick]`: run every part, print the tables, write them into RESULTS.md.

Ends with 1 where a gate fails.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench import programs, report
from bench.cases import SIZES
from bench.command import main
from bench.pool.alone import Alone, alone
from bench.pool.fleet import Ground, Placement, ground
from bench.pool.pace import Pace
from bench.pool.saturation import Saturated, saturate
from bench.report import Verdict
from bench.say import say

SIZE = SIZES["10 kB"]
OCCUPANCY_GATE = 0.95


@dataclass(frozen=True)
class Scale:
    """`answer` tokens a call: the more hosts, the longer the calls, for this machine carries only so many a second."""

    hosts: int
    answer: int
    placements: tuple[Placement, ...] = tuple(Placement)
    waves: int = 3


@dataclass(frozen=True)
class Plan:
    name: str
    scales: tuple[Scale, ...]
    steps: int
    alone: int


FULL = Plan(
    "pool",
    (Scale(1, 500), Scale(8, 500), Scale(64, 1_000, (Placement.OURS,), waves=2)),
    steps=5,
    alone=5,
)
QUICK = Plan("pool, quick", (Scale(4, 200),), steps=3, alone=2)


@dataclass
class Found:
    alone: Alone | None = None
    saturated: list[Saturated] = field(default_factory=list[Saturated])


async def measure(on: Ground, plan: Plan) -> Found:
    found = Found()
    found.alone = await alone(on, Pace(), SIZE, runs=plan.alone, steps=plan.steps, answer=20)
    for scale in plan.scales:
        for placement in scale.placements:
            say(f"{scale.hosts} hosts: {placement}")
            found.saturated.append(
                await saturate(
                    *(on, scale.hosts, placement, Pace(), SIZE),
                    waves=scale.waves,
                    steps=plan.steps,
                    answer=scale.answer,
                )
            )
    return found


def verdicts(found: Found) -> list[Verdict]:
    ours = [each for each in found.saturated if each.placement is Placement.OURS]
    return [
        Verdict(
            f"occupancy of {each.hosts} hosts with {each.slots} slots",
            f"{each.occupancy:.3f}",
            f"{OCCUPANCY_GATE} or more",
            each.occupancy >= OCCUPANCY_GATE,
        )
        for each in ours
    ]


def text(plan: Plan, found: Found, judged: list[Verdict], commit: str) -> str:
    pace = Pace()
    assert found.alone is not None
    rows = [
        [
            f"{each.hosts} x {each.slots // each.hosts}",
            each.placement.value,
            f"{each.occupancy:.3f}",
            f"{each.calls_a_second:.2f}",
            f"{each.runs_a_minute:.1f}",
            f"{each.fresh_a_run:.0f}",
            f"{each.seconds:.0f}",
        ]
        for each in found.saturated
    ]
    heads = ["hosts x slots", "placement", "occupancy", "calls/s", "runs/min", "prompt tokens computed, a run", "s"]
    return "\n\n".join(
        [
            f"## Pool, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            f"Commit {commit}. {report.machine()}. Temporal server {programs.TEMPORAL_VERSION}, Debian's Postgres. "
            f"No randomness but ids: no seed. Command: `make bench-pool{'-quick' if 'quick' in plan.name else ''}`.",
            f"Engines are stand-ins that keep a pace, no models: {pace.token_s * 1000:.1f} ms a token of an answer, "
            f"{pace.prefill_a_second:.0f} prompt tokens a second, {pace.slots} calls at once (`bench/pool/pace.py` "
            "says what published figures these are). All else is what a ministry runs: a `diwan pool serve` for each.",
            report.verdicts_table(judged),
            f"### More runs than slots, {plan.steps + 2} calls a run",
            report.table(heads, rows),
            "Occupancy is over the time in which there were more runs than slots.",
            "### One run alone on one host",
            f"A call takes {found.alone.added_ms:.0f} ms beyond its engine's own time, the tool call after it and the "
            f"run's opening and end included (median of {found.alone.runs} runs of {found.alone.calls} calls).",
        ]
    )


async def run(plan: Plan) -> int:
    commit = report.commit()
    with tempfile.TemporaryDirectory(prefix="diwan-bench-") as folder:
        async with ground(Path(folder)) as on:
            found = await measure(on, plan)
    judged = verdicts(found)
    section = text(plan, found, judged, commit)
    return report.finish(plan.name, section, judged)


if __name__ == "__main__":
    sys.exit(main("What pulling is worth.", "four hosts, a few minutes", lambda quick: run(QUICK if quick else FULL)))
