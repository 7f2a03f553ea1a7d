"""`python -m bench.pool [--quick]`: run every part, print the tables, write them into RESULTS.md.

`--engine vllm` instead: tokens a second of a real engine, beside vLLM's own benchmark.

Ends with 1 where a gate fails.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import report
from bench.cases import SIZES
from bench.command import main
from bench.pool import real, results
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
    """`answer` tokens a call: the more hosts, the longer the calls, for this machine carries only so many a second.
    `steps` of a run, its calls are two more."""

    hosts: int
    answer: int
    placements: tuple[Placement, ...] = (Placement.OURS,)
    waves: int = 2
    steps: int = 5


@dataclass(frozen=True)
class Plan:
    """`steps` of runs by themselves (`alone` of them) and of those at the machine's limit (`at_once`)."""

    name: str
    scales: tuple[Scale, ...]
    crowd: Crowd
    steps: int = 5
    alone: int = 5
    at_once: int = 48


FULL = Plan(
    "pool",
    (Scale(1, 250), Scale(4, 300, tuple(Placement), waves=3), Scale(64, 3_000, steps=1)),
    Crowd(),
)
QUICK = Plan(
    "pool, quick",
    (Scale(4, 200, tuple(Placement), steps=3),),
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
                    of_run = {"waves": scale.waves, "steps": scale.steps, "answer": scale.answer}
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
    section = results.text(found, judged, commit=commit, command=f"make bench-pool{quick}")
    return report.finish(plan.name, section, judged)


async def run_vllm(engine: real.Engine, runs: int) -> int:
    """The part that is of a real engine, by itself."""
    commit = report.commit()
    with tempfile.TemporaryDirectory(prefix="diwan-bench-") as folder:
        async with ground(Path(folder), model=real.MODEL) as on:
            found = await real.compared(on, engine, SIZE, runs=runs)
    section = results.vllm_text(found, engine, commit=commit)
    return report.finish("pool, vllm", section, results.vllm_verdicts(found))


def _options(parser: argparse.ArgumentParser) -> None:
    here = Path.cwd() / ".venv-vllm"
    parser.add_argument("--engine", choices=("paced", "vllm"), default="paced", help="vllm: a real one, on this device")
    parser.add_argument("--python", type=Path, default=here / "bin" / "python", help="the Python that has vLLM")
    parser.add_argument("--weights", type=Path, default=here / "tiny-mistral", help="the model's folder")
    parser.add_argument("--context", type=int, default=8_192, help="tokens of prompt and answer together")
    parser.add_argument("--room", type=int, default=4, help="calls at once")
    parser.add_argument("--runs", type=int, default=16, help="agent runs, begun at once")
    parser.add_argument("--vllm-arguments", default="--tool-call-parser hermes", help="more of vLLM's options")


def _chosen(given: argparse.Namespace) -> Coroutine[Any, Any, int]:
    if given.engine == "paced":
        return run(QUICK if given.quick else FULL)
    words = tuple(shlex.split(given.vllm_arguments))
    engine = real.Engine(given.python, given.weights, words, given.room, given.context)
    return run_vllm(engine, given.runs)


if __name__ == "__main__":
    sys.exit(main("What pulling is worth.", "four hosts, a few minutes", _chosen, _options))
