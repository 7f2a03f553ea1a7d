"""`python -m bench.pool [--quick]`: run every part, print the tables, write them into RESULTS.md.

Ends with 1 where a gate fails.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench import report
from bench.cases import SIZES
from bench.command import main
from bench.pool import results
from bench.pool.alone import alone
from bench.pool.backlog import Crowd, crowded
from bench.pool.ceiling import ceiling
from bench.pool.fleet import Placement, ground
from bench.pool.pace import Pace
from bench.pool.saturation import Saturated, saturate
from bench.say import say

SIZE = SIZES["10 kB"]


@dataclass(frozen=True)
class Scale:
    """`answer` tokens a call: the more hosts, the longer the calls, for this machine carries only so many a second."""

    hosts: int
    answer: int
    placements: tuple[Placement, ...] = (Placement.OURS,)
    waves: int = 3


@dataclass(frozen=True)
class Plan:
    """`steps` of a run, its calls are two more; `alone`: runs by themselves; `at_once`: runs at the machine's limit."""

    name: str
    scales: tuple[Scale, ...]
    crowd: Crowd
    steps: int = 5
    alone: int = 5
    at_once: int = 48


FULL = Plan(
    "pool",
    (Scale(1, 500), Scale(8, 500, tuple(Placement)), Scale(64, 2_000, waves=2)),
    Crowd(),
)
QUICK = Plan(
    "pool, quick",
    (Scale(4, 200, tuple(Placement)),),
    Crowd(hosts=2, flood=200, standing=100, alone=5, early=5, urgent=10, other=2),
    *(3, 2, 12),
)


async def measure(plan: Plan) -> results.Found:
    pace, saturated = Pace(), list[Saturated]()
    with tempfile.TemporaryDirectory(prefix="diwan-bench-") as folder:
        async with ground(Path(folder)) as on:
            by_itself = await alone(on, pace, SIZE, runs=plan.alone, steps=plan.steps, answer=20)
            limit = await ceiling(on, SIZE, runs=plan.at_once, steps=plan.steps)
            for scale in plan.scales:
                for placement in scale.placements:
                    say(f"{scale.hosts} hosts: {placement}")
                    of_run = {"waves": scale.waves, "steps": plan.steps, "answer": scale.answer}
                    saturated.append(await saturate(on, scale.hosts, placement, pace, SIZE, **of_run))
    with tempfile.TemporaryDirectory(prefix="diwan-bench-") as folder:
        async with ground(Path(folder)) as on:
            crowd = await crowded(on, pace, SIZE, plan.crowd)
    return results.Found(by_itself, limit, crowd, saturated)


async def run(plan: Plan) -> int:
    commit = report.commit()
    found = await measure(plan)
    judged = results.verdicts(found)
    quick = "-quick" if plan is QUICK else ""
    section = results.text(found, judged, commit=commit, command=f"make bench-pool{quick}", calls=plan.steps + 2)
    return report.finish(plan.name, section, judged)


if __name__ == "__main__":
    sys.exit(main("What pulling is worth.", "four hosts, a few minutes", lambda quick: run(QUICK if quick else FULL)))
