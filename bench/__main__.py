"""`python -m bench [--quick]`: run every round, print the tables, write them into RESULTS.md; 1 where a gate fails.

The two sides take turns, and so do the sizes of dossiers. On a machine with neighbours the CPU figures are what to look
at: wall-clock ratios move with the neighbours.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import profile, programs, report, rounds
from bench.cases import SIZES
from bench.command import main
from bench.report import Verdict
from bench.rounds import Bench, Round
from bench.say import say
from bench.server import COLLECTOR
from bench.service import RIVAL_PYTHON

_KEPT = Path(tempfile.gettempdir()) / "diwan-bench-logs"


@dataclass(frozen=True)
class Plan:
    """How much of each: `turns` of bare and diwan, `runs` at once of `steps` each, and so on."""

    name: str
    turns: int
    runs: int
    steps: int
    serial: int
    sized: int  # rounds of each size of dossier
    sized_runs: int
    rivals: int
    sizes: tuple[str, ...] = tuple(SIZES)
    rival_steps: tuple[int, ...] = (5, 10)
    rival_pages: tuple[int, ...] = (500, 8_000)
    rest_s: float = 20.0
    short: int = 4  # steps of the runs whose cost is taken off, so that what is left are steps alone
    profile_s: int = 20


FULL = Plan("full", turns=12, runs=24, steps=20, serial=3, sized=3, sized_runs=8, rivals=3)
QUICK = Plan(
    *("quick", 1, 8, 10, 1, 1, 2, 1),
    sizes=("10 kB", "1 MB"),
    rival_steps=(),
    rival_pages=(),
)


@dataclass
class Found:
    """All rounds of a plan."""

    bare: list[Round]
    diwan: list[Round]
    bare_short: list[Round]
    diwan_short: list[Round]
    serial_bare: list[Round]
    serial_diwan: list[Round]
    sizes: dict[str, list[Round]]
    rival: list[Round]
    rival_growth: dict[str, list[Round]]
    diwan_growth: dict[str, list[Round]]
    idle: Mapping[str, float] = field(default_factory=dict[str, float])
    profiles: dict[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])


async def measure(bench: Bench, plan: Plan) -> Found:
    first = SIZES[plan.sizes[0]]
    found = Found([], [], [], [], [], [], {name: [] for name in plan.sizes}, [], {}, {})

    def told(round_: Round, what: str) -> Round:
        say(f"{what}: {round_.steps_a_second:.1f} steps/s, {round_.cpu_ms_a_step:.1f} ms CPU a step")
        return round_

    async def ours(runs: int, steps: int) -> Round:
        return await bench.diwan_round(runs, steps, first)

    say("warming up")
    for _ in range(2):
        await bench.bare_round(4, 3)
        await bench.diwan_round(4, 3, first)
    await bench.rival_round(4, 3, 2_000)
    say("resting")
    found.idle = await bench.rest(plan.rest_s)
    for number in range(plan.turns):
        sides = [(bench.bare_round, "bare", found.bare, found.bare_short)]
        sides.append((ours, "diwan", found.diwan, found.diwan_short))
        for round_of, side, long, short in reversed(sides) if number % 2 else sides:
            long.append(told(await round_of(plan.runs, plan.steps), f"{side} {number + 1}"))
            short.append(told(await round_of(plan.runs, plan.short), f"{side}, short {number + 1}"))
    found.profiles = await _profiles(bench, plan)
    for number in range(plan.rivals):
        found.rival.append(told(await bench.rival_round(plan.runs, plan.steps, 2_000), f"pydantic-ai {number + 1}"))
    for number in range(plan.serial):
        found.serial_bare.append(told(await bench.bare_round(1, plan.steps), f"bare, one run {number + 1}"))
        found.serial_diwan.append(told(await bench.diwan_round(1, plan.steps, first), f"diwan, one run {number + 1}"))
    for number in range(plan.sized):
        for name in plan.sizes:
            sized = await bench.diwan_round(plan.sized_runs, plan.steps, SIZES[name])
            found.sizes[name].append(told(sized, f"dossier of {name} {number + 1}"))
    for steps in plan.rival_steps:
        found.diwan_growth[f"{steps} steps"] = [await bench.diwan_round(4, steps, first)]
        found.rival_growth[f"{steps} steps of 2 kB"] = [await bench.rival_round(4, steps, 2_000)]
    for page in plan.rival_pages:
        found.rival_growth[f"{plan.steps} steps of {page} bytes"] = [await bench.rival_round(4, plan.steps, page)]
    return found


async def _profiles(bench: Bench, plan: Plan) -> dict[str, Mapping[str, float]]:
    """Samples of both workers of Diwan while they work."""
    say("profiling")
    parts = ("case worker", "pool worker")
    with tempfile.TemporaryDirectory() as folder:
        files = {part: Path(folder) / part.replace(" ", "-") for part in parts}
        samples = (profile.sample(bench.diwan[part].pid, plan.profile_s, files[part]) for part in parts)
        round_ = bench.diwan_round(plan.runs, plan.steps, SIZES[plan.sizes[0]])
        await asyncio.gather(round_, *samples)
        return {part: profile.shares(file.read_text()) for part, file in files.items() if file.exists()}


def verdicts(plan: Plan, found: Found) -> list[Verdict]:
    low, middle, high = report.step_ratios((found.bare, found.bare_short), (found.diwan, found.diwan_short))
    run_ours, run_theirs = report.cpu(found.diwan), report.cpu(found.bare)
    history = report.of(found.diwan, lambda r: r.history_bytes / r.steps)
    rival_history = report.of(found.rival, lambda r: r.history_bytes / r.steps)
    rate, bare_rate, rival_rate = (
        report.of(side, lambda r: r.steps_a_second) for side in (found.diwan, found.bare, found.rival)
    )
    sized = [found.sizes[name] for name in plan.sizes]
    history_of = [report.of(each, lambda r: r.history_bytes) for each in sized]
    cpu_of = [report.cpu(each) for each in sized]
    return [
        Verdict(
            "bare CPU over ours, of a step",
            f"{middle:.2f} ({low:.2f} to {high:.2f})",
            f"{report.CPU_GATE} or more",
            middle >= report.CPU_GATE,
        ),
        Verdict(
            "the same with opening and ending the run",
            f"{report.ratio(run_ours, run_theirs):.2f}",
            f"{report.CPU_GATE} or more",
            report.ratio(run_ours, run_theirs) >= report.CPU_GATE,
            gate=False,
        ),
        Verdict("our steps/s over bare", f"{rate / bare_rate:.2f}", "0.7 or more", rate / bare_rate >= 0.7, gate=False),
        Verdict(
            "history bytes a step", f"{history:.0f}", f"{report.HISTORY_GATE} or less", history <= report.HISTORY_GATE
        ),
        Verdict(
            f"history, {plan.sizes[-1]} over {plan.sizes[0]}",
            f"{history_of[-1] / history_of[0]:.2f}",
            f"{report.GROWTH_GATE} or less",
            history_of[-1] <= history_of[0] * report.GROWTH_GATE,
        ),
        Verdict(
            f"CPU a step, {plan.sizes[-1]} over {plan.sizes[0]}",
            f"{cpu_of[-1] / cpu_of[0]:.2f}",
            f"{report.CPU_GROWTH_GATE} or less",
            cpu_of[-1] <= cpu_of[0] * report.CPU_GROWTH_GATE,
        ),
        Verdict(
            "steps/s, ours and pydantic-ai's", f"{rate:.1f} and {rival_rate:.1f}", "ours is more", rate > rival_rate
        ),
        Verdict(
            "history bytes a step, ours and pydantic-ai's",
            f"{history:.0f} and {rival_history:.0f}",
            "ours is less",
            history < rival_history,
        ),
    ]


def text(plan: Plan, found: Found, judged: list[Verdict], commit: str, postgres: str) -> str:
    first, last = found.bare[0], found.serial_diwan[-1]
    assert first.runs == plan.runs
    bare_ms, diwan_ms = (
        report.of(side, lambda r: r.spent.seconds * 1000 / r.all_steps)
        for side in (found.serial_bare, found.serial_diwan)
    )
    rival = {f"{plan.steps} steps of 2 kB": found.rival, **found.rival_growth}
    ours = {f"{plan.steps} steps": found.diwan, **found.diwan_growth}
    return "\n\n".join(
        [
            f"## Durable steps, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            f"Commit {commit}. {report.machine()}. {_versions(postgres)} No randomness but ids and nonces: no "
            f"seed. Command: `make bench{'-quick' if plan.name == 'quick' else ''}`.",
            report.verdicts_table(judged),
            f"### {plan.runs} runs at once, {plan.steps} steps each, medians of {plan.turns} rounds in turns",
            report.burst_tables((found.bare, found.bare_short), (found.diwan, found.diwan_short)),
            "The ratio is the median of all turns, each of four rounds that follow on each other, with its quartiles; "
            "the parts are medians by themselves. A step is what a run of "
            f"{plan.steps} steps costs more than one of {plan.short}, by so many steps. Opening and ending a run (for "
            "Diwan: inbox drained, child workflow, registers asked, facts, proposal, a clerk's task) is what is left.",
            "CPU is what a step adds: what all parts together use when nothing is asked of them, "
            f"{sum(found.idle.values()):.0f} ms a second on this machine now, is taken off. "
            f"With the engine's stand-in counted, bare CPU over ours is "
            f"{report.ratio(report.of(found.diwan, lambda r: r.cpu_ms_a_step), report.cpu(found.bare)):.2f}.",
            "### Where the workers' CPU goes (py-spy, shares of samples)",
            report.profile_table(found.profiles),
            "### One run alone",
            f"A step takes {bare_ms:.1f} ms bare and {diwan_ms:.1f} ms in Diwan: {diwan_ms - bare_ms:.1f} ms more "
            f"(medians of {len(found.serial_bare)} runs of {last.steps} steps).",
            f"### Dossiers, {plan.sized_runs} runs at once, medians of {plan.sized} rounds in turns",
            report.sizes_table(found.sizes),
            "### The same agent on pydantic-ai's TemporalDurability",
            report.rival_table(
                {**{f"diwan, {k}": v for k, v in ours.items()}, **{f"pydantic-ai, {k}": v for k, v in rival.items()}}
            ),
        ]
    )


def _versions(postgres: str) -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("temporalio", "psycopg", "sqlalchemy", "uvloop"))
    collector = ", ".join(f"Temporal's {name}={value}" for name, value in COLLECTOR.items())
    return (
        f"Temporal server {programs.TEMPORAL_VERSION}, Postgres {postgres} (Debian's; fsync, full_page_writes and "
        f"synchronous_commit on), {collector}, {libraries}, pydantic-ai {report.rival_version(RIVAL_PYTHON)}."
    )


def _keep_logs(folder: Path) -> None:
    shutil.rmtree(_KEPT, ignore_errors=True)
    _KEPT.mkdir(mode=0o700)
    for log in folder.glob("*.log"):
        shutil.copy(log, _KEPT)
    say(f"logs: {_KEPT}")


async def run(plan: Plan) -> int:
    commit = report.commit()  # now: the tree may move while it is measured
    with tempfile.TemporaryDirectory(prefix="diwan-bench-") as folder:
        try:
            async with rounds.running(Path(folder), steps=plan.steps) as bench:
                found = await measure(bench, plan)
        finally:
            _keep_logs(Path(folder))
    judged = verdicts(plan, found)
    section = text(plan, found, judged, commit, programs.postgres().version)
    return report.finish(plan.name, section, judged)


if __name__ == "__main__":
    shorter = "a few minutes, for work on the hot path"
    sys.exit(main("What a durable agent step costs.", shorter, lambda given: run(QUICK if given.quick else FULL)))
